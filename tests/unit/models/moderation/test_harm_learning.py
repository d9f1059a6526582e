"""Losses, calibration, groups and simulation: each does what its name says."""

import numpy as np
import pytest
import torch

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES
from models.metrics.classification import expected_calibration_error, roc_auc
from models.moderation.calibration import fit_isotonic, fit_platt, fit_temperature
from models.moderation.groups import grouped_folds, near_duplicate_groups
from models.moderation.logistic import sigmoid
from models.moderation.losses import LossConfig, effective_number_weights, task_losses
from models.moderation.quantize import quantized
from models.moderation.simulation import Assumptions, simulate

NAN = float("nan")


def test_labels_that_nobody_gave_have_no_gradient():
    logits = torch.zeros((3, 2), requires_grad=True)
    targets = torch.tensor([[1.0, NAN], [NAN, 0.0], [0.0, NAN]])
    losses = task_losses(logits, targets, LossConfig())
    losses.sum().backward()
    assert torch.isfinite(losses).all() and losses.tolist() == pytest.approx([np.log(2)] * 2)
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[True, False], [False, True], [True, False]]


def test_a_class_without_any_label_costs_nothing():
    losses = task_losses(torch.zeros((2, 1)), torch.full((2, 1), NAN), LossConfig())
    assert losses.tolist() == [0.0]


def test_focal_loss_looks_at_what_is_still_wrong():
    logits, targets = torch.tensor([[4.0], [-4.0]]), torch.tensor([[1.0], [1.0]])
    plain = [float(task_losses(logits[i : i + 1], targets[i : i + 1], LossConfig())) for i in (0, 1)]
    focal = [float(task_losses(logits[i : i + 1], targets[i : i + 1], LossConfig("focal"))) for i in (0, 1)]
    assert focal[0] < 0.01 * plain[0]  # right already
    assert focal[1] > 0.9 * plain[1]  # wrong


def test_focal_loss_without_gamma_is_cross_entropy():
    logits, targets = torch.randn(8, 5), torch.rand(8, 5)
    same = task_losses(logits, targets, LossConfig("focal", gamma=0.0))
    assert torch.allclose(same, task_losses(logits, targets, LossConfig()))


def test_the_rarer_side_weighs_more_and_ever_less_so_with_more_examples():
    targets = np.zeros((1_000, 2), np.float32)
    targets[:10, 0] = 1.0
    targets[:500, 1] = 1.0
    weights = effective_number_weights(targets, 0.999)
    assert weights[0, 1] > 10 * weights[0, 0] and weights[1, 0] == pytest.approx(weights[1, 1])
    assert weights.sum(axis=1) == pytest.approx([2.0, 2.0])
    # (1 - b) / (1 - b^n) for n = 10 and 990, as in the paper
    expected = ((1 - 0.999) / (1 - 0.999**10)) / ((1 - 0.999) / (1 - 0.999**990))
    assert weights[0, 1] / weights[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("change", [{"name": "hinge"}, {"gamma": -1.0}, {"beta": 1.0}])
def test_a_loss_that_there_is_not_is_refused(change: dict):
    with pytest.raises(InvalidInput):
        LossConfig(**change)


def overconfident(count: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    true_logits = generator.normal(-1.0, 1.5, count)
    labels = (generator.random(count) < sigmoid(true_logits)).astype(np.float32)
    return (4.0 * true_logits + 2.0)[:, None], labels[:, None]


def test_calibration_makes_overconfident_logits_honest_and_keeps_their_order():
    logits, labels = overconfident()
    before = expected_calibration_error(labels[:, 0], sigmoid(logits)[:, 0])
    calibration = fit_platt(logits, labels)
    after = expected_calibration_error(labels[:, 0], calibration.apply(logits)[:, 0])
    assert before > 0.15 and after < 0.03
    assert calibration.scale[0] == pytest.approx(0.25, abs=0.03) and calibration.fitted == [True]
    assert roc_auc(labels[:, 0], calibration.apply(logits)[:, 0]) == pytest.approx(roc_auc(labels[:, 0], logits[:, 0]))
    isotonic = fit_isotonic(logits[:, 0], labels[:, 0])
    assert np.all(np.diff(isotonic.levels) > 0)
    assert expected_calibration_error(labels[:, 0], isotonic.apply(logits[:, 0])) < 0.02
    assert fit_temperature(logits[:, 0] - 2.0, labels[:, 0]) == pytest.approx(0.25, abs=0.03)


def test_calibration_never_turns_an_order_round():
    logits = np.linspace(-2, 2, 40)[:, None]
    labels = (logits < 0).astype(np.float32)  # a model that is wrong throughout
    assert fit_platt(logits, labels).scale[0] > 0


def test_a_class_with_too_few_examples_is_left_as_it_is():
    calibration = fit_platt(np.zeros((30, 1)), np.array([[1.0]] * 3 + [[0.0]] * 27, np.float32))
    assert (calibration.scale, calibration.shift, calibration.fitted) == ([1.0], [0.0], [False])


def test_near_duplicates_are_one_group_and_others_are_not():
    story = "Congratulations, you have won a brand new phone today, call 0800 123 now to claim your prize"
    texts = [story, story.replace("phone", "tablet"), story.upper() + "!!", "The cat sat on the mat all day", "hello"]
    groups = near_duplicate_groups(texts, ["", "", "", "one", "one"])
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4] != groups[0]
    assert near_duplicate_groups([]).tolist() == []
    assert len(set(near_duplicate_groups(["", "a", "b"]).tolist())) == 3


def test_folds_keep_groups_whole_and_spread_each_source():
    generator = np.random.default_rng(2)
    groups = np.sort(generator.integers(0, 120, 400))
    groups = np.unique(groups, return_inverse=True)[1]
    sources = ["a" if group % 3 else "b" for group in groups]
    folds = grouped_folds(groups, sources, folds=5)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups.tolist()))
    for source in ("a", "b"):
        counts = np.bincount(folds[np.array(sources) == source], minlength=5)
        assert counts.max() - counts.min() <= 0.2 * counts.mean() + 4
    assert np.array_equal(folds, grouped_folds(groups, sources, folds=5))
    assert not np.array_equal(folds, grouped_folds(groups, sources, folds=5, seed=1))


def test_quantized_rows_are_right_to_half_a_step():
    values = np.random.default_rng(3).normal(size=(8, 64)).astype(np.float32)
    values[3] = 0.0
    out = quantized({"a.weight": values, "b.bias": values[0], "calibration.scale": values})
    assert out["a.weight"].dtype == np.int8 and out["b.bias"].dtype == np.float32
    assert out["calibration.scale"].dtype == np.float32
    widened = out["a.weight"] * out["a.weight.int8_scale"][:, None]
    assert np.abs(widened - values).max() <= out["a.weight.int8_scale"].max() / 2 + 1e-7


def simulated(harm: float, count: int = 600):
    targets = np.full((count, len(HARM_CLASSES)), 0.0, np.float32)
    targets[:, 0] = harm
    pools = {name: np.eye(8, dtype=np.float32)[[place]] for place, name in enumerate((*HARM_CLASSES, "neutral"))}
    return simulate(
        ["text"] * count,
        np.ones((count, 4), np.float32),
        targets,
        comments=pools,
        images=np.eye(3, dtype=np.float32),
        seed=4,
    )


def test_simulated_behaviour_has_the_rates_that_are_documented():
    rates = Assumptions()
    for harm, side in ((0.0, 0), (1.0, 1)):
        posts = simulated(harm)
        violations = np.mean([post.author_violations for post in posts])
        assert violations == pytest.approx(rates.violations[side], rel=0.35)
        reports, seen = sum(post.reports for post in posts), sum(post.impressions for post in posts)
        assert 1_000 * reports / seen == pytest.approx(rates.reports_per_thousand[side], rel=0.5)
        hours = np.bincount([post.hour or 0 for post in posts], minlength=24)
        assert hours.min() > 0  # context has nothing to do with harm


def test_simulation_is_the_same_for_the_same_seed():
    left, right = simulated(1.0, 20), simulated(1.0, 20)
    assert [post.reports for post in left] == [post.reports for post in right]

"""Areas and calibration against values worked out by hand and by definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from models.metrics.classification import (
    at_threshold,
    bootstrap_interval,
    brier_score,
    curves,
    expected_calibration_error,
    pr_auc,
    reliability,
    roc_auc,
    threshold_for_precision,
)

LABELS = [1, 0, 1, 1, 0, 0]
SCORES = [0.9, 0.8, 0.7, 0.4, 0.3, 0.1]


def test_areas_of_a_list_worked_out_by_hand():
    # Of nine pairs of a true and a false example, the false one is above in (0.7, 0.8) and (0.4, 0.8).
    assert roc_auc(LABELS, SCORES) == pytest.approx(7 / 9)
    assert pr_auc(LABELS, SCORES) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_equal_scores_are_worth_one_half_and_the_share_of_true_ones():
    assert roc_auc(LABELS, [0.5] * 6) == 0.5
    assert pr_auc(LABELS, [0.5] * 6) == 0.5
    assert len(curves(LABELS, [0.5] * 6).thresholds) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])), min_size=2, max_size=30).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_the_roc_area_is_the_chance_of_the_right_order(rows: list[tuple[bool, float]]):
    true = [score for label, score in rows if label]
    false = [score for label, score in rows if not label]
    wins = np.mean([(t > f) + 0.5 * (t == f) for t in true for f in false])
    labels, scores = zip(*rows, strict=True)
    assert roc_auc(labels, scores) == pytest.approx(wins)
    found = curves(labels, scores)
    area = np.trapezoid([0, *found.true_positive_rate], [0, *found.false_positive_rate])
    assert area == pytest.approx(wins)  # the curve and the area agree
    assert found.true_positive_rate[-1] == found.false_positive_rate[-1] == 1.0
    assert 0.0 < pr_auc(labels, scores) <= 1.0


def test_what_is_not_defined_is_nan():
    assert math.isnan(roc_auc([1, 1], [0.1, 0.2])) and math.isnan(roc_auc([], []))
    assert math.isnan(pr_auc([0, 0], [0.1, 0.2]))
    assert math.isnan(threshold_for_precision([0, 1], [0.9, 0.1], 0.9))


@pytest.mark.parametrize(("labels", "scores"), [([1], [0.1, 0.2]), ([1, 0], [math.nan, 0.2]), ([[1]], [[0.2]])])
def test_nonsense_is_refused(labels: list, scores: list):
    with pytest.raises(InvalidInput):
        roc_auc(labels, scores)


def test_the_interval_holds_the_value_and_narrows_with_more_examples():
    generator = np.random.default_rng(0)

    def interval(count: int) -> tuple[float, float, float]:
        labels = generator.random(count) < 0.4
        scores = labels + generator.normal(size=count)
        low, high = bootstrap_interval(labels, scores, roc_auc, resamples=200)
        return low, roc_auc(labels, scores), high

    few, many = interval(60), interval(1_500)
    assert few[0] < few[1] < few[2] and many[0] < many[1] < many[2]
    assert many[2] - many[0] < few[2] - few[0]


def test_copies_of_one_text_are_one_piece_of_evidence():
    generator = np.random.default_rng(1)
    labels = generator.random(50) < 0.5
    scores = labels + generator.normal(size=50)
    copied = np.repeat(np.arange(50), 20)
    alone = bootstrap_interval(labels, scores, roc_auc)
    naive = bootstrap_interval(labels[copied], scores[copied], roc_auc)
    grouped = bootstrap_interval(labels[copied], scores[copied], roc_auc, groups=copied.tolist())
    assert naive[1] - naive[0] < 0.5 * (alone[1] - alone[0])
    assert grouped[1] - grouped[0] == pytest.approx(alone[1] - alone[0], rel=0.35)


def test_probabilities_that_are_right_have_no_calibration_error():
    probabilities = np.repeat([0.1, 0.5, 0.9], 100)
    labels = np.concatenate([np.arange(100) < share * 100 for share in (0.1, 0.5, 0.9)])
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.0, abs=1e-9)
    assert expected_calibration_error(labels, 1.0 - probabilities) == pytest.approx((0.8 + 0.0 + 0.8) / 3)
    assert [one.count for one in reliability(labels, probabilities)] == [100, 100, 100]
    assert brier_score([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)


def test_a_probability_of_one_falls_into_the_last_bin():
    assert reliability([1], [1.0])[0].high == 1.0
    with pytest.raises(InvalidInput):
        reliability([1], [1.5])


def test_a_threshold_is_the_lowest_that_is_precise_enough():
    assert threshold_for_precision(LABELS, SCORES, 0.7) == 0.4
    assert threshold_for_precision(LABELS, SCORES, 1.0) == 0.9
    found = at_threshold(LABELS, SCORES, 0.4)
    assert (
        found["precision"] == 0.75 and found["recall"] == 1.0 and found["false_positive_rate"] == pytest.approx(1 / 3)
    )
    assert found["f1"] == pytest.approx(2 * 0.75 / 1.75)

"""A score told on another scale: what stays, and what must not depend on anything but order and proportion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from serving.recommendation.isotonic import told_on

_ROUNDED = 1e-6
_share = st.integers(0, 1_000).map(lambda number: number / 1_000)


@st.composite
def worlds(draw):
    """Draw two scores of the same candidates, and the second of them of others, ascending."""
    m, n = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    scale, both, scores = (draw(arrays(np.float32, size, elements=_share)) for size in (m, m, n))
    return scale, both, np.sort(scores)


@given(worlds())
def test_a_greater_score_is_never_told_lower_and_all_stay_on_the_scale(world):
    scale, both, scores = world
    told = told_on(scale, both, scores)
    assert (np.diff(told) >= -_ROUNDED).all()
    assert told.min() >= 0 and told.max() <= scale.max() + _ROUNDED
    assert told.dtype == np.float32


@given(worlds(), st.sampled_from([1 / 64, 0.5, 4.0, 1024.0]))
def test_the_unit_of_the_scores_says_nothing(world, unit):
    scale, both, scores = world
    told = told_on(scale, both * np.float32(unit), scores * np.float32(unit))
    assert told == pytest.approx(told_on(scale, both, scores), abs=_ROUNDED)


@given(worlds(), st.sampled_from([0.25, 2.0, 8.0]))
def test_it_is_told_in_the_unit_of_the_scale(world, unit):
    scale, both, scores = world
    told = told_on(scale * np.float32(unit), both, scores)
    assert told == pytest.approx(unit * told_on(scale, both, scores), abs=10 * _ROUNDED)


@given(worlds(), st.randoms())
def test_the_order_of_the_candidates_says_nothing(world, chance):
    scale, both, scores = world
    order = list(range(len(both)))
    chance.shuffle(order)
    assert told_on(scale[order], both[order], scores) == pytest.approx(told_on(scale, both, scores), abs=_ROUNDED)


@given(worlds())
def test_the_blocks_are_those_of_another_implementation(world):
    scale, both, _ = world
    said = both > 0
    if not said.any():
        return
    points, same, counts = np.unique(both[said], return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(same, scale[said]) / counts, weights=counts)
    block = np.repeat(np.arange(len(fitted.blocks) - 1), np.diff(fitted.blocks))
    middles = (np.bincount(block, points * counts) / np.bincount(block, counts)).astype(np.float32)
    assert told_on(scale, both, middles) == pytest.approx(fitted.x[fitted.blocks[:-1]], abs=10 * _ROUNDED)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40, unique=True))
def test_where_both_scores_say_the_same_it_is_the_one_for_the_other(numbers):
    both = np.array(numbers, np.float32) / 10_000
    scale = np.sqrt(both) / 3
    assert told_on(scale, both, both) == pytest.approx(scale, abs=_ROUNDED)


def test_between_two_it_is_between_and_equals_share_their_mean():
    scale, both = np.array([0.2, 0.9, 0.4, 0.5], np.float32), np.array([0.01, 0.03, 0.02, 0.02], np.float32)
    told = told_on(scale, both, np.array([0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04], np.float32))
    assert told.tolist() == pytest.approx([0, 0.1, 0.2, 0.325, 0.45, 0.675, 0.9, 0.9])


def test_where_the_scores_contradict_each_other_everybody_gets_the_mean():
    scale, both = np.array([0.9, 0.5, 0.1], np.float32), np.array([0.1, 0.2, 0.3], np.float32)
    assert told_on(scale, both, np.array([0.1, 0.2, 0.3, 0.9], np.float32)).tolist() == pytest.approx(
        [0.25, 0.5, 0.5, 0.5]
    )


def test_of_whom_nothing_was_said_is_told_nothing_and_they_do_not_count():
    scale, both = np.array([0.9, 0.8, 0.4], np.float32), np.array([0, 0, 0.2], np.float32)
    assert told_on(scale, both, np.array([0, 0.1, 0.2], np.float32)).tolist() == pytest.approx([0, 0.2, 0.4])
    assert told_on(scale, both * 0, np.array([0, 0.1], np.float32)).tolist() == [0, 0]


def test_one_candidate_is_enough():
    one, asked = np.array([0.5], np.float32), np.array([0, 0.05, 0.1, 0.7], np.float32)
    assert told_on(one, one / 5, asked).tolist() == pytest.approx([0, 0.25, 0.5, 0.5])

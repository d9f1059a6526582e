import numpy as np
import pytest

from core.errors import InvalidInput
from models.metrics.lists import average_pairwise_similarity, by_group, coverage, novelty


def test_coverage_is_the_share_of_the_catalogue_in_any_list():
    assert coverage(np.asarray([[0, 1], [1, 2]]), 6) == 0.5


def test_what_half_of_the_users_know_is_one_bit_of_news():
    counts = np.asarray([5, 10, 0])
    assert novelty(np.asarray([[0], [1]]), counts, 10) == pytest.approx([1.0, 0.0])
    assert novelty(np.asarray([[2]]), counts, 10)[0] == pytest.approx(-np.log2(0.05))


def test_pairwise_similarity_of_a_list_is_the_mean_cosine_of_its_pairs():
    vectors = np.asarray([[1, 0], [2, 0], [0, 3], [0, 0]], np.float32)
    values = average_pairwise_similarity(np.asarray([[0, 1, 2], [0, 2, 3], [0, 1, 1]]), vectors)
    assert values == pytest.approx([1 / 3, 0.0, 1.0])


def test_one_item_has_no_pair():
    assert average_pairwise_similarity(np.asarray([[0]]), np.ones((1, 2), np.float32)) == pytest.approx([0.0])


def test_small_groups_are_shown_together():
    values = np.asarray([1.0] * 12 + [0.0] * 11 + [1.0] * 3 + [0.0] * 2)
    groups = ["a"] * 12 + ["b"] * 11 + ["c"] * 3 + ["d"] * 2
    scores = by_group(values, groups)
    assert [(score.group, score.users, score.mean) for score in scores] == [
        ("a", 12, 1.0),
        ("b", 11, 0.0),
        ("other", 5, 0.6),
    ]


def test_every_value_needs_a_group():
    with pytest.raises(InvalidInput):
        by_group(np.zeros(3), ["a"])

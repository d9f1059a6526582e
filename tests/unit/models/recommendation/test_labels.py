import numpy as np
import pytest

from core.errors import InvalidInput
from models.recommendation.interactions import make_log
from models.recommendation.labels import (
    RelevanceRule,
    label,
    log_q,
    loss_weights,
    random_negatives,
    resample,
    rule_for,
)


def labelled(*events, rule=None):
    """Label `(kind, value)` events of one user and one item, a second apart."""
    log = make_log(
        ["a"] * len(events),
        ["x"] * len(events),
        np.arange(len(events), dtype=float),
        kinds=[kind for kind, _ in events],
        values=np.asarray([np.nan if value is None else value for _, value in events], np.float32),
    )
    feedback = label(log, rule)
    assert len(feedback) == 1 and feedback.time[0] == len(events) - 1
    return int(feedback.label[0])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("rating", 4)], 1),
        ([("rating", 3)], 0),
        ([("rating", 2)], -1),
        ([("like", None)], 1),
        ([("watch", 0.5)], 1),
        ([("watch", 0.49)], 0),
        ([("watch", None)], 0),
        ([("impression", None)], 0),
        ([("impression", None), ("click", None)], 0),
        ([("dislike", None)], -1),
        ([("watch", 0.9), ("dislike", None)], -1),  # what was said outweighs what was done
        ([("dislike", None), ("watch", 0.9)], -1),
        ([("dislike", None), ("like", None)], 1),  # and what was said last counts
        ([("like", None), ("hide", None)], -1),
    ],
)
def test_relevance_from_what_was_said_and_done(events, expected):
    assert labelled(*events) == expected


def test_what_counts_as_relevant_is_configurable():
    assert labelled(("watch", 0.6), rule=RelevanceRule(watched_from=0.8)) == 0
    assert labelled(("click", None), rule=RelevanceRule(engaging=("click",))) == 1
    with pytest.raises(InvalidInput):
        RelevanceRule(rating_from=1, disliked_to=2)
    with pytest.raises(InvalidInput):
        RelevanceRule(liking=("hug",))


def test_each_pair_is_one_row_in_the_order_of_time():
    log = make_log(
        ["a", "b", "a", "a"], ["x", "x", "y", "x"], np.asarray([1.0, 2, 3, 4]), values=np.asarray([1, 5, 5, 5])
    )
    feedback = label(log)
    assert list(zip(feedback.user, feedback.item, feedback.time, feedback.label, strict=True)) == [
        (1, 0, 2.0, 1),
        (0, 1, 3.0, 1),
        (0, 0, 4.0, 1),
    ]


@pytest.mark.parametrize(("values", "expected"), [([1, 5], 4.0), ([0.1, 1.0], 0.5)])
def test_the_scale_of_ratings_is_recognised(values, expected):
    log = make_log(["a", "a"], ["x", "y"], np.asarray([1.0, 2]), values=np.asarray(values, np.float32))
    assert rule_for(log).rating_from == expected


def test_an_unknown_scale_has_to_be_said():
    log = make_log(["a", "a"], ["x", "y"], np.asarray([1.0, 2]), values=np.asarray([1, 100], np.float32))
    with pytest.raises(InvalidInput, match="--relevant-from"):
        rule_for(log)
    assert rule_for(log, rating_from=60).rating_from == 60


def test_balanced_weights_give_both_sides_the_same_sum_and_a_mean_of_one():
    labels = np.asarray([1, 0, 0, -1], np.int8)
    weights = loss_weights(labels)
    assert weights[0] == pytest.approx(weights[1:].sum())
    assert weights.mean() == pytest.approx(1.0)


def test_resampling_keeps_what_is_relevant():
    labels = np.asarray([0] * 50 + [1] * 5, np.int8)
    kept = resample(labels, negatives_per_positive=2, rng=np.random.default_rng(0))
    assert (labels[kept] == 1).sum() == 5 and (labels[kept] == 0).sum() == 10


def test_random_negatives_are_unseen():
    seen = np.zeros((20, 50), bool)
    seen[:, :40] = True
    drawn = random_negatives(seen, 10, np.random.default_rng(0))
    assert drawn.min() >= 40


def test_log_q_is_the_log_of_the_share():
    assert log_q(np.asarray([3, 1])) == pytest.approx(np.log([0.75, 0.25]))
    assert np.isfinite(log_q(np.asarray([3, 0]))).all()

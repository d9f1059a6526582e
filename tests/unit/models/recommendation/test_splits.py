import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tastes import two_tastes

from core.errors import InvalidInput
from models.recommendation.feedback import PAD
from models.recommendation.interactions import make_log
from models.recommendation.labels import label
from models.recommendation.splits import leave_last_out, temporal


def random_feedback(seed, rows=200):
    rng = np.random.default_rng(seed)
    log = make_log(
        [f"u{place}" for place in rng.integers(0, 12, rows)],
        [f"i{place}" for place in rng.integers(0, 20, rows)],
        rng.integers(0, 60, rows).astype(float),  # many at the same time
        values=rng.integers(1, 6, rows).astype(np.float32),
    )
    return label(log)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_no_training_row_of_a_temporal_split_is_as_late_as_an_evaluated_one(seed):
    feedback = random_feedback(seed)
    split = temporal(feedback, start=0.7)
    place = {(user, item): time for user, item, time in zip(feedback.user, feedback.item, feedback.time, strict=True)}
    rows, items = split.relevant.nonzero()
    evaluated = [place[split.users.place[row], item] for row, item in zip(rows, items, strict=True)]
    assert split.train.time.max() < min(evaluated)
    assert split.relevant.multiply(split.seen).nnz == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_leave_last_out_shows_a_user_nothing_from_the_held_out_item_on(seed, back):
    feedback = random_feedback(seed)
    split = leave_last_out(feedback, back=back)
    for row, user in enumerate(split.users.place):
        liked = feedback.item[(feedback.user == user) & (feedback.label > 0)]
        target = liked[len(liked) - 1 - back]
        assert split.relevant[row].indices.tolist() == [target]
        assert (
            split.users.history[row][split.users.history[row] != PAD].tolist()
            == liked[: len(liked) - 1 - back].tolist()
        )
        own = split.train.user == user
        assert target not in split.train.item[own & (split.train.label > 0)]
        rejected = own & (split.train.label <= 0)
        assert (split.train.time[rejected] < split.users.now[row]).all()


def test_validation_is_before_the_test_and_not_in_its_training():
    feedback = two_tastes()
    validation, test = leave_last_out(feedback, back=1), leave_last_out(feedback)
    assert len(validation.train.positives()) == len(test.train.positives()) - len(test)
    assert (validation.users.now < test.users.now).all()


def test_users_with_two_relevant_items_only_teach():
    log = make_log(["a", "a", "b", "b", "b"], list("xyxyz"), np.arange(5.0), values=np.full(5, 5, np.float32))
    split = leave_last_out(label(log))
    assert [split.train.users[place] for place in split.users.place] == ["b"]
    assert len(split.train) == 4


def test_without_enough_relevant_items_the_error_says_what_to_check():
    log = make_log(["a", "b"], ["x", "y"], np.arange(2.0), values=np.full(2, 5, np.float32))
    with pytest.raises(InvalidInput, match="no user has 3 relevant items"):
        leave_last_out(label(log))
    same = make_log(["a", "b"], ["x", "y"], np.ones(2), values=np.full(2, 5, np.float32))
    with pytest.raises(InvalidInput, match="before and after the cut"):
        temporal(label(same))

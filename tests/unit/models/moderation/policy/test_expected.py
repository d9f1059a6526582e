"""What thresholds would do: by counting posts, and by what a model measured of them."""

import numpy as np
import pytest

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.evaluate import threshold_table
from models.moderation.policy import load_policy
from models.moderation.policy.expected import expected
from models.registry.packaged import open_registry

HATE = HARM_CLASSES.index("hate")


@pytest.fixture
def judged():
    """Scores and labels of 4,000 posts, a twentieth of them harmful, as `(n, 5)`."""
    rng = np.random.default_rng(5)
    targets = (rng.random((4_000, len(HARM_CLASSES))) < 0.05).astype(np.float32)
    scores = np.clip(np.round(rng.normal(0.25 + 0.4 * targets, 0.2), 3), 0.001, 0.999)
    return scores, targets


def with_hate(**thresholds):
    policy = load_policy(None)
    hate = policy.classes.hate.model_copy(update={"review": None, "demote": None, "enforce": None, **thresholds})
    return policy.model_copy(update={"classes": policy.classes.model_copy(update={"hate": hate})})


def test_at_a_measured_threshold_it_is_what_counting_gives(judged):
    scores, targets = judged
    [one] = [row for row in expected(with_hate(demote=0.5), threshold_table(scores, targets)) if row.harm == "hate"]
    reach, harmful = scores[:, HATE] >= 0.5, targets[:, HATE] == 1
    assert (one.action, one.threshold) == ("demote", 0.5)
    assert one.found == pytest.approx(reach[harmful].mean())
    assert one.false_alarms == pytest.approx(reach[~harmful].mean())
    assert one.right == pytest.approx(harmful[reach].mean())
    assert one.reached == pytest.approx(reach.mean())


def test_where_harm_is_rarer_fewer_are_right(judged):
    scores, targets = judged
    scores, targets = scores[:, [HATE] * 5], targets[:, [HATE] * 5]
    kept = (targets[:, HATE] == 0) | (np.arange(len(targets)) % 5 == 0)  # a fifth of the harmful ones
    share = float((targets[kept, HATE] == 1).mean())
    rarer = expected(with_hate(review=0.6), threshold_table(scores[kept], targets[kept]))
    told = expected(with_hate(review=0.6), threshold_table(scores, targets), prevalence=share)
    one, other = (next(row for row in rows if row.harm == "hate") for rows in (rarer, told))
    assert other.right == pytest.approx(one.right, abs=0.08)  # a fifth of them is a sample
    assert (
        other.right
        < next(
            row for row in expected(with_hate(review=0.6), threshold_table(scores, targets)) if row.harm == "hate"
        ).right
    )


def test_between_measured_thresholds_it_lies_between_them(judged):
    table = threshold_table(*judged)
    rows = [row for row in expected(with_hate(review=0.5, demote=0.55, enforce=0.6), table) if row.harm == "hate"]
    assert rows[0].found > rows[1].found > rows[2].found
    assert rows[1].found == pytest.approx((rows[0].found + rows[2].found) / 2)


def test_an_action_that_is_never_taken_and_a_class_that_was_not_measured_are_left_out(judged):
    table = threshold_table(*judged)
    del table["spam"]
    rows = expected(with_hate(), table)
    assert {row.harm for row in rows} == {"violence", "nudity", "self_harm"}


def test_a_threshold_that_nothing_reaches_is_neither_right_nor_wrong():
    targets = np.tile(np.array([[0.0], [1.0]], np.float32), (10, len(HARM_CLASSES)))
    rows = expected(load_policy(None), threshold_table(np.where(targets == 1, 0.2, 0.1), targets))
    assert {(row.found, row.right, row.reached) for row in rows if row.threshold > 0.3} == {(0.0, None, 0.0)}


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 7.0, float("nan")])
def test_a_prevalence_that_is_no_share_is_refused(judged, prevalence):
    with pytest.raises(InvalidInput, match="no share of posts"):
        expected(load_policy(None), threshold_table(*judged), prevalence)


def test_the_packaged_policy_with_the_packaged_model(tmp_path):
    """Where nobody looks first, nearly all are right, even where harm is rare: 1 % of the posts."""
    measured = open_registry(tmp_path).resolve("moderation@champion").manifest.metrics["thresholds"]
    for row in expected(load_policy(None), measured, prevalence=0.01):
        assert row.right is not None
        if row.action == "enforce":
            assert row.right >= 0.8, row
        if row.action == "review":
            assert row.found >= 0.5 and row.right >= 0.25, row

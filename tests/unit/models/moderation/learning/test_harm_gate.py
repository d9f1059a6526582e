"""The gate: what is worse is held, what cannot be told stays a challenger, the rest is promoted."""

import numpy as np
import pytest

from core.moderation import HARM_CLASSES
from models.moderation.learning.gate import Asked, GateRule, judge, mean_areas

CLASSES = len(HARM_CLASSES)
RULE = GateRule(min_hand=100)


def asked(count: int, *, better: float = 0.0, noise: float = 1.0, seed: int = 0, sure: float = 2.0) -> Asked:
    """Return posts of which a fifth is harmful for each class, scored with as much noise by both versions.

    `better` is added to how far the candidate tells them apart, `noise` times the champion's noise is the candidate's.
    """
    generator = np.random.default_rng(seed)
    targets = np.zeros((count, CLASSES), np.float32)
    targets[np.arange(count), np.arange(count) % CLASSES] = 1.0
    logits = sure * (2.0 * targets - 1.0)
    error = generator.normal(size=(count, CLASSES))
    old = 1.0 / (1.0 + np.exp(-(logits + error)))
    new = 1.0 / (1.0 + np.exp(-(logits * (1.0 + better) + noise * error)))
    return Asked(old, new, targets, np.arange(count))


def test_a_candidate_that_is_as_good_is_promoted() -> None:
    verdict = judge(asked(400), {"base": asked(300, seed=1)}, RULE)
    assert (verdict.outcome, verdict.refused) == ("promoted", ())
    assert verdict.difference is not None and verdict.difference.mean == 0.0


def test_scores_that_are_constant_are_refused() -> None:
    hand, base = asked(400), asked(300, seed=1)
    hand.candidate[:] = base.candidate[:] = 0.3
    verdict = judge(hand, {"base": base}, RULE)
    assert verdict.outcome == "held"
    for harm in HARM_CLASSES:
        assert f"tells {harm} apart worse: ROC area 0.500" in verdict.reason


def test_one_class_that_is_lost_is_enough_to_be_refused() -> None:
    base = asked(300, seed=1)
    base.candidate[:, 3] = np.random.default_rng(0).random(300)
    verdict = judge(asked(400), {"base": base}, RULE)
    assert verdict.outcome == "held"
    assert "tells self_harm apart worse" in verdict.reason
    assert "tells hate apart worse" not in verdict.reason


def test_figures_on_the_base_that_fall_a_little_everywhere_are_refused() -> None:
    verdict = judge(asked(400), {"base": asked(400, seed=1, noise=1.7)}, RULE)
    assert verdict.outcome == "held"
    assert "on base its mean ROC area is" in verdict.reason


def test_a_few_harmless_texts_that_became_the_surest_are_refused_though_the_order_hardly_changed() -> None:
    base = asked(300, seed=1)
    for place in range(CLASSES):
        harmless = np.flatnonzero(base.targets[:, place] == 0)[:3]
        base.candidate[harmless, place] = 0.9999
    verdict = judge(asked(400), {"base": base}, RULE)
    assert verdict.outcome == "held"
    assert verdict.reason.startswith("on base its mean precision-recall area is 0.8")
    assert judge(asked(400), {"base": base}, GateRule(pr_margin=0.5)).outcome == "promoted"


def test_rounds_that_each_lose_a_little_are_refused_when_they_have_lost_too_much_together() -> None:
    base = {"base": asked(400, seed=1, noise=1.1)}
    first = judge(asked(400), base, RULE)
    assert first.outcome == "promoted"
    began = mean_areas(first.compared)["base"]
    assert judge(asked(400), base, RULE, {"base": began}).outcome == "promoted"
    late = judge(asked(400), base, RULE, {"base": began + 0.03})
    assert late.outcome == "held"
    assert "the version which the line began with" in late.reason


def test_probabilities_that_mean_less_are_refused_though_the_order_is_the_same() -> None:
    hand = asked(400)
    hand.candidate[:] = hand.candidate**0.25
    verdict = judge(hand, {"base": asked(300, seed=1)}, RULE)
    assert verdict.outcome == "held"
    assert "its probabilities are off by" in verdict.reason
    assert verdict.difference is not None and verdict.difference.mean == 0.0


def test_labels_shuffled_between_posts_are_refused_on_the_judged_posts_alone() -> None:
    hand = asked(400)
    hand.candidate[:] = np.random.default_rng(2).permutation(hand.candidate)
    verdict = judge(hand, {}, RULE)
    assert verdict.outcome == "held"
    assert "on judged posts its ROC area is lower" in verdict.reason


def test_what_cannot_be_told_becomes_challenger() -> None:
    hand = asked(110, sure=0.7)
    hand.candidate[:] = asked(110, sure=0.7, seed=9).champion  # as good, with mistakes of its own
    verdict = judge(hand, {}, GateRule(min_hand=100, calibration=0.1))
    assert verdict.outcome == "challenger", verdict
    assert "may be lower by up to" in verdict.reason


def test_a_better_candidate_is_promoted_though_the_margin_is_nothing() -> None:
    verdict = judge(asked(600, better=0.6, sure=0.7), {}, GateRule(margin=0.0, calibration=0.2))
    assert verdict.outcome == "promoted"
    assert verdict.difference is not None and verdict.difference.low > 0


@pytest.mark.parametrize("count", [0, 4, 99])
def test_too_few_judged_posts_are_said_to_be_too_few(count: int) -> None:
    verdict = judge(asked(count), {"base": asked(300, seed=1)}, RULE)
    assert verdict.outcome == "held"
    assert verdict.reason == f"too few hand labels: {count} posts, and 100 are needed to tell"


def test_judged_posts_of_one_side_only_are_too_few() -> None:
    hand = asked(200)
    hand.targets[:] = 0.0
    verdict = judge(hand, {}, RULE)
    assert verdict.outcome == "held"
    assert "no class has 5 harmful and 5 harmless posts" in verdict.reason


def test_near_duplicates_are_one_piece_of_evidence() -> None:
    one = asked(200, better=0.5, sure=0.7)
    rows = np.repeat(np.arange(200), 4)
    many = Asked(one.champion[rows], one.candidate[rows], one.targets[rows], one.groups[rows])
    alone, copied = judge(one, {}, RULE).difference, judge(many, {}, RULE).difference
    assert alone is not None and copied is not None
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_unknown_scores_are_not_compared() -> None:
    hand = asked(400)
    hand.champion[:200, 0] = np.nan
    verdict = judge(hand, {}, RULE)
    assert {one.harm: one.examples for one in verdict.compared}["violence"] == 200

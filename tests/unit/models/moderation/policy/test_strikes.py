"""Strikes: windows, steps, and what they come to."""

from datetime import timedelta

from models.moderation.policy.strikes import strikes_of
from tests.unit.models.moderation.policy.cases import NOW, policy

STEPS = """
strikes:
  - {count: 2, days: 30, thresholds_times: 0.8}
  - {count: 3, days: 90, at_least: review}
  - {count: 5, days: 90, at_least: demote, thresholds_times: 0.5}
"""


def ago(*days: float):
    return [NOW - timedelta(days=d) for d in days]


def effect(*days: float):
    found = strikes_of(policy(STEPS), ago(*days), NOW)
    return found.at_least, found.thresholds_times, [reason.rule for reason in found.reasons]


def test_nothing_follows_from_too_few():
    assert effect() == effect(1) == ("allow", 1.0, [])


def test_each_step_counts_in_its_own_window():
    assert effect(1, 29) == ("allow", 0.8, [])
    assert effect(1, 31) == ("allow", 1.0, [])
    assert effect(1, 31, 89) == ("review", 1.0, ["strikes.3"])
    assert effect(1, 31, 91) == ("allow", 1.0, [])
    assert effect(1, 2, 89) == ("review", 0.8, ["strikes.3"])


def test_the_hardest_step_counts():
    assert effect(1, 2, 3, 4, 5) == ("demote", 0.5, ["strikes.3", "strikes.5"])


def test_the_edge_of_the_window_is_inside():
    assert effect(0, 30) == ("allow", 0.8, [])
    assert effect(0, 30.001) == ("allow", 1.0, [])


def test_decisions_dated_after_now_do_not_count():
    assert effect(1, -1) == ("allow", 1.0, [])


def test_the_reason_tells_how_many_and_within_what():
    (reason,) = strikes_of(policy(STEPS), ago(40, 41, 42, 43), NOW).reasons
    assert (reason.value, reason.threshold, reason.action) == (4.0, 3.0, "review")
    assert reason.detail == "4 decisions that enforced within 90 days"

"""The order of the review queue."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.moderation.policy import appeal_priority, decide, priority
from models.moderation.policy.priority import expected_impressions, harm_probability
from tests.unit.models.moderation.policy.cases import case, failure, policy, report

POLICY = policy()
REVIEW = POLICY.review


def order(found, rate: float = 100.0, age: float = 10.0, **fields) -> float:
    return priority(POLICY, decide(POLICY, case(found, **fields)), impressions_per_hour=rate, age_hours=age)


def test_the_documented_formula():
    rate = (100 * 10 + 20 * 1) / (10 + 1)
    decay = math.log(2) / 12
    expected = rate * (1 - math.exp(-decay * 72)) / decay
    assert expected_impressions(REVIEW, 100, 10) == pytest.approx(expected)
    assert order({"hate": 0.6}) == pytest.approx(0.6 * 3 * expected * 4)  # severity 3, real-time
    assert order({"spam": 0.6}) == pytest.approx(0.6 * 1 * expected)
    assert order({"hate": 0.8}) == pytest.approx(0.8 * 3 * expected * 4 * 0.25)  # demoted already: shown a quarter
    assert order({"hate": 0.95}) == 0.0


def test_a_post_of_which_nothing_is_known_gets_the_prior():
    assert expected_impressions(REVIEW, 0, 0) == pytest.approx(20 * 12 / math.log(2) * (1 - 2**-6))
    assert expected_impressions(REVIEW, -5, -5) == expected_impressions(REVIEW, 0, 0)


def test_the_rate_of_a_young_post_hardly_counts_and_that_of_an_old_one_does():
    horizon = 12 / math.log(2) * (1 - 2**-6)
    assert expected_impressions(REVIEW, 1000, 0.01) / horizon < 30
    assert expected_impressions(REVIEW, 1000, 100) / horizon > 980


def test_reports_of_now_raise_the_probability_by_log_odds():
    assert harm_probability(REVIEW, 0.5, 2.0) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert harm_probability(REVIEW, 0.5, 0.0) == pytest.approx(0.5)
    assert harm_probability(REVIEW, None, 0.0) == REVIEW.unknown_probability
    assert 0 < harm_probability(REVIEW, 0.0, 0.0) < 0.001 and 0.999 < harm_probability(REVIEW, 1.0, 1e9) <= 1


def test_fresh_reports_come_before_old_ones():
    fresh = [report(f"a{i}", i, harm="hate") for i in range(4)]
    old = [report(f"a{i}", 24 * 60 + i, harm="hate") for i in range(4)]
    assert order({"hate": 0.55}, reports=fresh) > order({"hate": 0.55}, reports=old) > order({"hate": 0.55})


def test_a_post_without_scores_is_in_between():
    assert order({"spam": 0.6}) < order(failure())


def test_the_urgency_can_be_said():
    outcome = decide(POLICY, case({"spam": 0.6}))
    urgent = priority(POLICY, outcome, impressions_per_hour=1, age_hours=1, urgency="real-time")
    assert urgent == pytest.approx(4 * priority(POLICY, outcome, impressions_per_hour=1, age_hours=1))


def test_an_appeal_weighs_what_is_withheld_wrongly():
    likely_wrong = appeal_priority(POLICY, probability=0.6, impressions_per_hour=100, age_hours=10)
    likely_right = appeal_priority(POLICY, probability=0.99, impressions_per_hour=100, age_hours=10)
    assert likely_wrong == pytest.approx(0.4 * expected_impressions(REVIEW, 100, 10))
    assert likely_wrong > likely_right > 0


@given(st.floats(0.5, 0.69), st.floats(0.5, 0.69), st.floats(0, 1e6), st.floats(0, 1e4))
@settings(deadline=None)
def test_more_probable_harm_comes_first_and_all_is_finite(a, b, rate, age):
    low, high = sorted((order({"hate": a}, rate, age), order({"hate": b}, rate, age)))
    assert 0 < low <= high < math.inf
    assert (order({"hate": max(a, b)}, rate, age)) == high

"""Reports: how one weighs, and that many accounts of one do not outweigh a few people."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.moderation.policy.reports import weigh
from models.moderation.policy.schema import Reports
from tests.unit.models.moderation.policy.cases import NOW, report

POLICY = Reports()


def total(reports, policy=POLICY) -> float:
    return weigh(reports, policy, now=NOW).total


def test_no_reports_weigh_nothing():
    found = weigh([], POLICY)
    assert (found.total, found.velocity, found.harm, found.reporters) == (0.0, 0.0, None, 0)


def test_a_person_of_some_age_without_a_record_counts_one():
    assert total([report("ada")]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("upheld", "dismissed", "expected"),
    [(0, 0, 1.0), (6, 0, 1.6), (0, 6, 0.4), (3, 3, 1.0), (1000, 0, 2.0), (0, 1000, 0.0), (-5, -5, 1.0)],
)
def test_trust_follows_the_record(upheld, dismissed, expected):
    assert total([report("ada", upheld=upheld, dismissed=dismissed)]) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("days", "expected"), [(0, 0.2), (3.5, 0.6), (7, 1.0), (7000, 1.0), (-1, 0.2), (None, 0.25), (float("nan"), 0.25)]
)
def test_new_accounts_count_less(days, expected):
    assert total([report("ada", account_age_days=days)]) == pytest.approx(expected)


def test_a_person_counts_once_however_often_and_for_whatever_class():
    reports = [report("ada", minutes, harm=harm) for minutes in range(50) for harm in ("hate", "spam", None)]
    found = weigh(reports, POLICY, now=NOW)
    assert found.total == pytest.approx(1.0)
    assert found.reporters == 1
    assert found.by_harm == {None: pytest.approx(1.0)}  # the first report, at equal times the one without a class


def test_the_class_that_most_of_the_weight_says():
    found = weigh([report("a", harm="hate"), report("b", 30, harm="spam"), report("c", 60, harm="hate")], POLICY)
    assert found.harm == "hate"
    assert found.by_harm == {"hate": pytest.approx(2.0), "spam": pytest.approx(1.0)}


def test_velocity_halves_with_the_age_of_each_report():
    found = weigh([report("a"), report("b", 6 * 60), report("c", 12 * 60)], POLICY, now=NOW, half_life_hours=6)
    assert found.total == pytest.approx(3.0)
    assert found.velocity == pytest.approx(1 + 0.5 + 0.25)


def test_reports_from_the_future_weigh_as_if_they_were_now():
    assert weigh([report("a", -60)], POLICY, now=NOW).velocity == pytest.approx(1.0)


# --- attacks -------------------------------------------------------------------------------------------------------

FIVE = [report(f"person-{i}", minutes=i * 3) for i in range(5)]


def puppets(n: int, spacing_minutes: float, **fields):
    return [report(f"puppet-{i}", minutes=i * spacing_minutes, **{"account_age_days": 1.0} | fields) for i in range(n)]


def test_five_strangers_within_minutes_count_five():
    found = weigh(FIVE, POLICY, now=NOW)
    assert found.total == pytest.approx(5.0)
    assert found.campaigns == 0


@pytest.mark.parametrize("spacing", [0, 0.05, 1, 9.9, 10, 10.1, 60, 24 * 60])
@pytest.mark.parametrize("age", [0.0, 1.0, 6.9])
def test_a_hundred_new_accounts_do_not_outweigh_five_people_however_patient(spacing, age):
    found = weigh(puppets(100, spacing, account_age_days=age), POLICY, now=NOW)
    assert found.total <= POLICY.unproven_cap + 1e-9
    assert found.total < POLICY.review_at < weigh(FIVE, POLICY, now=NOW).total


def unknown(n: int, spacing_minutes: float = 1.0, **fields):
    return [report(f"unknown-{i}", i * spacing_minutes, account_age_days=None, **fields) for i in range(n)]


@pytest.mark.parametrize("spacing", [0, 1, 60])
def test_enough_people_of_whom_nothing_is_known_bring_a_post_before_a_person(spacing):
    assert total(unknown(1, spacing)) == pytest.approx(0.25)
    assert total(unknown(7, spacing)) < POLICY.review_at
    assert total(unknown(8, spacing)) == pytest.approx(POLICY.review_at)


def test_a_hundred_people_of_whom_nothing_is_known_do_no_more_and_not_more_than_five_strangers():
    assert total(unknown(100)) == pytest.approx(POLICY.review_at)
    assert total(unknown(100)) < total(FIVE)
    assert total(unknown(100), Reports(unknown_age_cap=0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("n", range(8, 60))
def test_what_is_scaled_to_the_threshold_reaches_it(n):
    assert total(unknown(n)) >= POLICY.review_at


def test_an_upheld_report_makes_somebody_unknown_count_beyond_the_cap():
    heard = [report("heard", account_age_days=None, upheld=4)]
    assert total(unknown(100) + heard) == pytest.approx(POLICY.review_at + total(heard))


def test_an_account_is_proven_from_the_day_on_that_the_policy_says():
    old_enough = puppets(100, 0, account_age_days=POLICY.new_account_days)
    assert total(old_enough) == pytest.approx(100.0)


def test_new_accounts_with_upheld_reports_are_no_campaign_for_being_new():
    found = weigh(puppets(6, 1, upheld=2), POLICY, now=NOW)
    assert found.campaigns == 0
    assert found.total > POLICY.unproven_cap


def test_two_new_accounts_within_the_burst_are_a_campaign_and_beyond_it_are_not():
    policy = Reports(new_account_weight=0.9, coordinated_cap=1.0, unproven_cap=1.99)
    near = [report("a", 0, account_age_days=0.0), report("b", 10, account_age_days=0.0)]
    far = [report("a", 0, account_age_days=0.0), report("b", 10.01, account_age_days=0.0)]
    assert total(near, policy) == pytest.approx(1.0)
    assert total(far, policy) == pytest.approx(1.8)


def test_puppets_do_not_pull_down_the_people_they_report_with():
    assert total(FIVE + puppets(100, 0.1)) >= total(FIVE)
    assert total(FIVE + puppets(100, 0.1)) <= total(FIVE) + POLICY.unproven_cap + 1e-9


def test_accounts_that_are_always_wrong_stop_counting():
    assert total(puppets(100, 60, account_age_days=900.0, dismissed=500)) < POLICY.review_at


def test_ten_thousand_reports_of_fifty_accounts_count_as_fifty_at_most():
    reports = [report(f"account-{i % 50}", i * 0.001, account_age_days=2.0) for i in range(10_000)]
    found = weigh(reports, POLICY, now=NOW)
    assert found.reporters == 50
    assert found.total <= POLICY.unproven_cap + 1e-9


REPORTS = st.lists(
    st.builds(
        report,
        st.sampled_from([f"r{i}" for i in range(8)]),
        st.floats(0, 100),
        harm=st.sampled_from(["hate", "spam", None]),
        account_age_days=st.one_of(st.none(), st.floats(0, 20)),
        upheld=st.integers(0, 3),
        dismissed=st.integers(0, 3),
    ),
    max_size=12,
)


@given(REPORTS, st.randoms())
@settings(deadline=None)
def test_the_order_does_not_matter(reports, random):
    shuffled = list(reports)
    random.shuffle(shuffled)
    one, two = weigh(reports, POLICY, now=NOW), weigh(shuffled, POLICY, now=NOW)
    distinct = len({(r.at, r.reporter_id, r.harm) for r in reports}) == len(reports)
    if distinct:  # else two versions of the same report say different things of the reporter
        assert one == two


@given(REPORTS)
@settings(deadline=None)
def test_weights_add_up_and_stay_within_the_caps(reports):
    found = weigh(reports, POLICY, now=NOW + timedelta(hours=1))
    assert sum(found.by_harm.values()) == pytest.approx(found.total)
    assert 0 <= found.velocity <= found.total + 1e-9
    assert found.total <= 2 * found.reporters

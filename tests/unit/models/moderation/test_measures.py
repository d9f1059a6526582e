"""Prevalence is unbiased and its interval covers; what is too little to say something of is unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.moderation_counts import Counted, DrawnPost, EnforcedPost, ReportedPost, ReportsOf
from models.moderation.measures import ANY, FEW_POSTS, UNKNOWN, measure, prevalence, times

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def drawn(
    post_id: object, draws: int = 1, action: str | None = "allow", harm: str | None = None, **more: Any
) -> DrawnPost:
    values = {"weight": draws / 0.1, "flagged": False, **more}
    return DrawnPost(post_id=str(post_id), draws=draws, action=action, harm=harm, **values)  # type: ignore[arg-type]


def counted(**changes: Any) -> Counted:
    values = {
        "since": NOW - timedelta(days=7),
        "until": NOW,
        "drawn": [],
        "enforced": [],
        "reported": [],
        "reports": {},
        "appeals_reversed": 0,
        "appeals_upheld": 0,
        "appeals_open": 0,
        "restricted_by_machine": 0,
    }
    return Counted(**{**values, **changes})


def enforced(n: int, after_s: float = 60.0, reported_after_s: float | None = None, **more: Any) -> EnforcedPost:
    posted = NOW - timedelta(hours=1)
    reported = None if reported_after_s is None else posted + timedelta(seconds=reported_after_s)
    values = {"harm": "hate", "impressions": 10, **more}
    return EnforcedPost(
        post_id=f"p{n}",
        posted_at=posted,
        enforced_at=posted + timedelta(seconds=after_s),
        reported_at=reported,
        **values,
    )


# --- prevalence --------------------------------------------------------------------------------------------------


def test_each_drawn_impression_counts_and_each_by_the_share_it_was_drawn_with() -> None:
    harmless = [drawn(n) for n in range(60)]
    popular = drawn("popular", 20, "enforce", "hate")
    assert prevalence([*harmless, popular]).value == pytest.approx(20 / 80)
    twice_as_rare = drawn("popular", 20, "enforce", "hate", weight=20 / 0.05)
    assert prevalence([*harmless, twice_as_rare]).value == pytest.approx(40 / 100)


def test_prevalence_is_told_by_class() -> None:
    posts = [drawn(n) for n in range(90)]
    posts += [drawn(f"h{n}", action="enforce", harm="hate") for n in range(8)]
    posts += [drawn(f"s{n}", action="demote", harm="spam") for n in range(2)]
    found = measure(counted(drawn=posts)).prevalence
    values = {name: one.value for name, one in found.items()}
    assert values == pytest.approx(
        {ANY: 0.1, "violence": 0.0, "nudity": 0.0, "hate": 0.08, "self_harm": 0.0, "spam": 0.02}
    )
    none_seen = found["violence"]
    assert none_seen.high is not None and 0.02 < none_seen.high < 0.06  # none among a hundred is not none at all


def test_one_popular_post_makes_the_interval_wide() -> None:
    spread = [drawn(n, action="enforce" if n < 20 else "allow", harm="hate" if n < 20 else None) for n in range(100)]
    crowded = [drawn(n) for n in range(80)] + [drawn("popular", 20, "enforce", "hate")]
    narrow, wide = prevalence(spread), prevalence(crowded)
    assert narrow.value == wide.value == pytest.approx(0.2)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)  # type: ignore[operator]


def test_too_few_posts_say_nothing() -> None:
    assert prevalence([]) == UNKNOWN
    assert prevalence([drawn(n) for n in range(FEW_POSTS - 1)]) == UNKNOWN
    assert prevalence([drawn(n) for n in range(FEW_POSTS)]).value == 0.0
    assert prevalence([drawn(n, action=None) for n in range(500)]) == UNKNOWN


def test_a_part_of_the_impressions_that_nobody_looked_at_leaves_the_whole_unknown() -> None:
    looked_at = [drawn(n, flagged=True) for n in range(50)]
    assert prevalence(looked_at) != UNKNOWN
    assert prevalence([*looked_at, drawn("waits", 30, action=None)]) == UNKNOWN


class Week:
    """A made-up week: posts with very different numbers of impressions, some harmful, some looked at sooner."""

    def __init__(self, rng: np.random.Generator, posts: int, harmful: float, share: float, looked_at: float) -> None:
        self.harmful = rng.random(posts) < harmful
        seen = np.ceil(rng.lognormal(3.0, 1.2, posts))
        self.views = np.where(self.harmful, np.ceil(0.6 * seen), seen).astype(int)  # harm is taken down sooner
        flagged = np.where(self.harmful, rng.random(posts) < 0.5, rng.random(posts) < 0.05)
        looked = flagged | (rng.random(posts) < looked_at)
        self.drawn = [
            DrawnPost(
                post_id=str(n),
                draws=int(draws),
                weight=draws / share,
                flagged=bool(flagged[n]),
                action=None if not looked[n] else "enforce" if self.harmful[n] else "allow",
            )
            for n, draws in enumerate(rng.binomial(self.views, share))
            if draws
        ]

    @property
    def true(self) -> float:
        return float((self.views * self.harmful).sum() / self.views.sum())


@pytest.mark.parametrize(
    ("posts", "harmful", "share", "looked_at"),
    [(2_000, 0.03, 0.02, 1.0), (4_000, 0.01, 0.005, 1.0), (2_000, 0.1, 0.02, 0.4)],
    ids=["usual", "rare", "half-reviewed"],
)
def test_the_interval_holds_the_true_prevalence_in_95_of_100_weeks_and_the_value_is_unbiased(
    posts: int, harmful: float, share: float, looked_at: float
) -> None:
    rng = np.random.default_rng(5)
    weeks = [Week(rng, posts, harmful, share, looked_at) for _ in range(150)]
    found = [prevalence(week.drawn) for week in weeks]
    true = np.array([week.true for week in weeks])
    low, high, value = (np.array([getattr(one, name) for one in found]) for name in ("low", "high", "value"))
    usual = float(true.mean())  # of all such weeks: posts like these, not only these
    assert np.mean((low <= true) & (true <= high)) >= 0.93
    assert np.mean((low <= usual) & (usual <= high)) >= 0.93
    assert abs(float(np.mean(value - true))) < 0.1 * usual
    assert float(np.mean(high - low)) < 4 * usual + 0.03


def test_what_is_looked_at_first_does_not_make_prevalence_greater() -> None:
    rng = np.random.default_rng(6)
    weeks = [Week(rng, 2_000, 0.05, 0.02, 0.2) for _ in range(60)]
    true = float(np.mean([week.true for week in weeks]))
    plain = []
    for week in weeks:
        seen = [one for one in week.drawn if one.action is not None]
        plain.append(sum(one.weight for one in seen if one.action == "enforce") / sum(one.weight for one in seen))
    assert float(np.mean(plain)) > 1.5 * true  # what leaving out the strata would say
    assert float(np.mean([prevalence(week.drawn).value for week in weeks])) == pytest.approx(true, rel=0.15)


# --- the rest ----------------------------------------------------------------------------------------------------


def test_nothing_at_all_is_unknown_not_zero() -> None:
    found = measure(counted())
    assert found.prevalence[ANY] == UNKNOWN
    assert found.valid_appeals.share is None
    assert found.proactive.share is None
    assert (found.post_to_enforced.p50_s, found.post_to_enforced.p95_s) == (None, None)
    assert found.harmful_impressions[ANY] == 0  # counted, and there were none
    assert found.reports["none"] == ReportsOf(reports=0, upheld=0, rejected=0)


def test_a_share_of_fewer_than_ten_is_unknown_and_its_counts_are_told() -> None:
    few = measure(counted(appeals_reversed=2, appeals_upheld=7)).valid_appeals
    assert (few.hits, few.n, few.share, few.low) == (2, 9, None, None)
    enough = measure(counted(appeals_reversed=2, appeals_upheld=8, restricted_by_machine=100))
    assert enough.valid_appeals.share == 0.2
    assert enough.appeals_reversed_of_restricted.share == 0.02


def test_a_post_that_was_reported_first_was_not_found_proactively() -> None:
    posts = [enforced(n) for n in range(12)] + [enforced(n, reported_after_s=59) for n in range(12, 15)]
    posts.append(enforced(15, reported_after_s=61))  # reported by who saw it before it was gone everywhere
    found = measure(counted(enforced=posts)).proactive
    assert (found.hits, found.n) == (13, 16)


def test_harmful_impressions_add_up_by_class() -> None:
    posts = [enforced(1, impressions=7), enforced(2, harm="spam", impressions=5), enforced(3, harm=None)]
    found = measure(counted(enforced=posts)).harmful_impressions
    assert (found[ANY], found["hate"], found["spam"], found["nudity"]) == (22, 7, 5, 0)


def test_times_are_quantiles_of_what_is_over() -> None:
    found = times([float(n) for n in range(1, 101)], [True] * 100)
    assert (found.p50_s, found.p95_s, found.n, found.waiting) == (50.0, 95.0, 100, 0)
    assert times([1.0] * 9, [True] * 9).p50_s is None
    fifteen = times([1.0] * 15, [True] * 15)
    assert (fifteen.p50_s, fifteen.p95_s) == (1.0, None)


def test_what_still_waits_counts_as_longer_than_it_has_lasted() -> None:
    answered, waiting = [float(n) for n in range(1, 51)], [100.0] * 50
    found = times(answered + waiting, [True] * 50 + [False] * 50)
    assert (found.n, found.waiting, found.p50_s, found.p95_s) == (50, 50, 50.0, None)
    assert times([100.0] * 30, [False] * 30).p50_s is None
    just_asked = times([*answered, 0.5], [True] * 50 + [False])
    assert just_asked.p50_s == 25.0  # half a second of waiting says nothing


def test_reports_wait_until_now() -> None:
    at = NOW - timedelta(minutes=10)
    posts = [
        ReportedPost(post_id=str(n), reported_at=at, decided_at=at + timedelta(minutes=1) if n else None)
        for n in range(12)
    ]
    found = measure(counted(reported=posts)).report_to_decision
    assert (found.n, found.waiting, found.p50_s) == (11, 1, 60.0)

"""How well moderation works, from what the store counted: book chapter 5, "Online metrics".

*Prevalence* is the share of impressions that showed something harmful. Impressions are drawn by chance and people look
at their posts (each post once, every drawn impression counts), so it tells also of the harm that no machine found:

    prevalence = sum_s (W_s / W) R_s,     R_s = sum_i w_i y_i / sum_i w_i  over the posts i of s that were looked at

with w_i the drawn impressions of post i, each divided by the share it was drawn with (Horvitz and Thompson 1952), y_i
whether a person restricted it, and W_s the weight of everything drawn in stratum s. There are two strata: posts that
also had another review job, and the rest. The first are looked at sooner, because the queue is ordered by urgency;
without strata what is not looked at yet would make the share too great.

The interval is Wilson's at an effective number of posts: the smaller of (sum w)^2 / sum w^2 (Kish 1965), and that which
gives the variance of the ratio over posts (Taylor linearisation). It speaks of posts like these, not only of these.

*Valid appeals* is reversed / decided. *Proactive rate* is, of the posts that are taken down, the share that nobody had
reported before. *Harmful impressions* are those that happened before their post was taken down. What is too little to
say something of is None: unknown, never 0.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from msgspec import Struct

from core.moderation import HARM_CLASSES, HarmClass
from core.moderation_counts import Counted, DrawnPost, ReportsOf
from models.moderation.policy.proportions import Proportion, proportion, wilson

FEW = 10  # of fewer a share or a median says next to nothing: its interval spans half of what is possible
FEW_FOR_P95 = 20  # of fewer it is simply the greatest
FEW_POSTS = 30  # looked at, for prevalence
ANY = "any"
NO_CLASS = "none"


class Estimate(Struct, kw_only=True, frozen=True, gc=False):
    """A value with its 95 % interval; all None when it is unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


UNKNOWN = Estimate()


class Sample(Struct, kw_only=True, frozen=True, gc=False):
    """What prevalence is made of. `impressions` is how many there were, as far as the sample tells."""

    draws: int
    draws_reviewed: int
    posts: int
    posts_reviewed: int
    impressions: float


class Times(Struct, kw_only=True, frozen=True, gc=False):
    """How long things took, in seconds. `waiting` are not over; they count as longer than they have lasted."""

    n: int
    waiting: int
    p50_s: float | None
    p95_s: float | None


class Measures(Struct, kw_only=True, frozen=True, gc=False):
    """Everything about one stretch of time, by class of harm; `any`: of every class, `none`: of no class."""

    since: datetime
    until: datetime
    prevalence: dict[str, Estimate]
    sample: Sample
    enforced: int
    harmful_impressions: dict[str, int]
    valid_appeals: Proportion
    appeals_open: int
    appeals_reversed_of_restricted: Proportion  # the book's formula: of everything that a machine restricted
    proactive: Proportion
    reports: dict[str, ReportsOf]
    post_to_enforced: Times
    report_to_decision: Times


def measure(counted: Counted) -> Measures:
    """Make measures of what was counted."""
    reviewed = [one for one in counted.drawn if one.action is not None]
    impressions = {ANY: sum(one.impressions for one in counted.enforced)}
    for harm in HARM_CLASSES:
        impressions[harm] = sum(one.impressions for one in counted.enforced if one.harm == harm)
    decided = counted.appeals_reversed + counted.appeals_upheld
    unreported = sum(one.reported_at is None or one.reported_at >= one.enforced_at for one in counted.enforced)
    took = [(one.enforced_at - one.posted_at).total_seconds() for one in counted.enforced]
    answered = [((one.decided_at or counted.until) - one.reported_at).total_seconds() for one in counted.reported]
    return Measures(
        since=counted.since,
        until=counted.until,
        prevalence={ANY: prevalence(counted.drawn), **{one: prevalence(counted.drawn, one) for one in HARM_CLASSES}},
        sample=Sample(
            draws=sum(one.draws for one in counted.drawn),
            draws_reviewed=sum(one.draws for one in reviewed),
            posts=len(counted.drawn),
            posts_reviewed=len(reviewed),
            impressions=sum(one.weight for one in counted.drawn),
        ),
        enforced=len(counted.enforced),
        harmful_impressions=impressions,
        valid_appeals=_share(counted.appeals_reversed, decided),
        appeals_open=counted.appeals_open,
        appeals_reversed_of_restricted=_share(
            min(counted.appeals_reversed, counted.restricted_by_machine), counted.restricted_by_machine
        ),
        proactive=_share(unreported, len(counted.enforced)),
        reports={harm or NO_CLASS: of for harm, of in _every_class(counted.reports).items()},
        post_to_enforced=times(took, [True] * len(took)),
        report_to_decision=times(answered, [one.decided_at is not None for one in counted.reported]),
    )


def prevalence(drawn: Sequence[DrawnPost], harm: HarmClass | None = None) -> Estimate:
    """Return the share of impressions that showed a harm (None: any). Unknown while too few posts were looked at."""
    seen = [one for one in drawn if one.action is not None]
    total = sum(one.weight for one in drawn)
    if len(seen) < FEW_POSTS or total <= 0:
        return UNKNOWN
    value = variance = crowding = 0.0  # crowding: 1 / the effective number of posts by weights alone
    for flagged in (False, True):
        of_stratum = sum(one.weight for one in drawn if one.flagged == flagged) / total
        if of_stratum == 0.0:
            continue
        looked_at = [one for one in seen if one.flagged == flagged]
        if not looked_at:
            return UNKNOWN  # of a part of the impressions nothing is known
        weights = np.array([one.weight for one in looked_at])
        harmful = np.array([_is_harmful(one, harm) for one in looked_at], dtype=float)
        rate, error = _ratio(weights, harmful)
        value += of_stratum * rate
        variance += of_stratum**2 * error
        crowding += of_stratum**2 * float(np.sum(weights**2) / np.sum(weights) ** 2)
    n = 1.0 / crowding
    if variance > 0.0:
        n = min(n, value * (1.0 - value) / variance)
    low, high = wilson(value, n)
    return Estimate(value=value, low=low, high=high)


def times(durations_s: Sequence[float], over: Sequence[bool]) -> Times:
    """Return quantiles of durations, some of which are not over yet (Kaplan and Meier 1958).

    Args:
        durations_s: how long each took, or has lasted so far; a negative one counts as none.
        over: whether it is over.
    """
    n = sum(over)
    known = len(durations_s) >= FEW
    return Times(
        n=n,
        waiting=len(over) - n,
        p50_s=_quantile(durations_s, over, 0.5) if known else None,
        p95_s=_quantile(durations_s, over, 0.95) if len(durations_s) >= FEW_FOR_P95 else None,
    )


def _ratio(weights: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """Return a ratio of sums and its variance, each post being one observation."""
    total, posts = float(weights.sum()), len(weights)
    rate = float((weights * hits).sum()) / total
    if posts < 2:
        return rate, 0.0
    return rate, posts / (posts - 1) * float(((weights * (hits - rate)) ** 2).sum()) / total**2


def _is_harmful(one: DrawnPost, harm: HarmClass | None) -> bool:
    return one.action in ("demote", "enforce") and harm in (None, one.harm)


def _share(hits: int, n: int) -> Proportion:
    found = proportion(hits, n)
    return found if n >= FEW else Proportion(hits=hits, n=n, share=None, low=None, high=None)


def _every_class(reports: Mapping[HarmClass | None, ReportsOf]) -> dict[HarmClass | None, ReportsOf]:
    none = ReportsOf(reports=0, upheld=0, rejected=0)
    return {harm: reports.get(harm, none) for harm in (*HARM_CLASSES, None)}


def _quantile(durations_s: Sequence[float], over: Sequence[bool], share: float) -> float | None:
    """Return by when a share of the things is over; None while too many still wait."""
    ordered = sorted(zip(durations_s, over, strict=True), key=lambda one: (one[0], not one[1]))
    lasting, at_risk = 1.0, len(ordered)
    for duration_s, is_over in ordered:
        if is_over:
            lasting *= 1.0 - 1.0 / at_risk
            if lasting <= 1.0 - share + 1e-12:
                return max(0.0, duration_s)
        at_risk -= 1
    return None

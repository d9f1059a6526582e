"""How much reports of a post weigh, so that five people count and a hundred accounts of one do not.

A reporter counts once per post. Their weight is trust x age:

    trust = 2 (upheld + k) / (upheld + dismissed + 2k)            in (0, 2); 1 without a record (k is `prior`)
    age   = w0 + (1 - w0) min(1, days / new_account_days)          w0 is `new_account_weight`

the first being the mean of a beta distribution with k successes and k failures before the first report, doubled.
An account without an upheld report is *unproven* while it is new, or when its age is not known.

New accounts that report within `burst_minutes` of each other are one campaign (chains count: A with B and B with C is
one campaign). A campaign of two or more counts at most `coordinated_cap`, and all new accounts together, campaigns or
not, at most `unproven_cap`, which is below `review_at`: patience does not help either.

Of an account of unknown age nothing speaks for a campaign, and where no profiles arrive every account is one. Each
counts little (`unknown_age_weight`), all together as much as brings a post before a person (`unknown_age_cap`), and
no more: eight strangers are heard, a hundred are no louder.

What this does not see: aged accounts that have no dismissed reports. They are strangers as far as anybody can tell; a
post they report is looked at by a person, and their dismissed reports then count.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.moderation import HarmClass
from models.moderation.policy.case import PostReport
from models.moderation.policy.schema import Reports


@dataclass(frozen=True)
class ReportWeights:
    """The weight of a post's reports; `by_harm` adds up to `total`. `campaigns` have two or more accounts."""

    total: float = 0.0
    velocity: float = 0.0  # each report halving with its age: how much is being reported now
    by_harm: dict[HarmClass | None, float] = field(default_factory=dict)
    reporters: int = 0
    campaigns: int = 0

    @property
    def harm(self) -> HarmClass | None:
        """The class that most of the weight says, None when most say none."""
        return max(self.by_harm, key=lambda harm: (self.by_harm[harm], harm or ""), default=None)


NONE = ReportWeights()


def weigh(
    reports: Sequence[PostReport], policy: Reports, *, now: datetime | None = None, half_life_hours: float = 6.0
) -> ReportWeights:
    """Weigh the reports of one post. The order they come in does not matter; `now` dates the velocity."""
    if not reports:
        return NONE
    firsts = _firsts(reports)
    weights = [_weight(report, policy) for report in firsts]
    new = [i for i, report in enumerate(firsts) if _is_new(report, policy)]
    groups = _campaigns(firsts, new, policy.burst_minutes * 60.0)
    for group in groups:
        if len(group) > 1:
            _cap(weights, group, policy.coordinated_cap)
    _cap(weights, new, policy.unproven_cap)
    unknown = [i for i, report in enumerate(firsts) if report.upheld <= 0 and _age(report) is None]
    _cap(weights, unknown, policy.review_at if policy.unknown_age_cap is None else policy.unknown_age_cap)
    by_harm: dict[HarmClass | None, float] = {}
    for report, weight in zip(firsts, weights, strict=True):
        by_harm[report.harm] = by_harm.get(report.harm, 0.0) + weight
    when = now if now is not None else max(report.at for report in firsts)
    return ReportWeights(
        total=round(math.fsum(weights), 9),  # scaled to a cap they add up to it, and not to a bit less
        velocity=sum(
            weight * 0.5 ** (max(0.0, (when - report.at).total_seconds()) / 3600 / half_life_hours)
            for report, weight in zip(firsts, weights, strict=True)
        ),
        by_harm=by_harm,
        reporters=len(firsts),
        campaigns=sum(len(group) > 1 for group in groups),
    )


def _firsts(reports: Iterable[PostReport]) -> list[PostReport]:
    """Return each reporter's first report, by time. Repeating oneself neither counts nor moves it."""
    firsts: dict[str, PostReport] = {}
    for report in sorted(reports, key=lambda report: (report.at, report.reporter_id, report.harm or "")):
        firsts.setdefault(report.reporter_id, report)
    return list(firsts.values())


def _weight(report: PostReport, policy: Reports) -> float:
    upheld, dismissed = max(0, report.upheld), max(0, report.dismissed)
    trust = 2 * (upheld + policy.prior) / (upheld + dismissed + 2 * policy.prior)
    return trust * _age_weight(_age(report), policy)


def _age(report: PostReport) -> float | None:
    days = report.account_age_days
    return None if days is None or days != days else days


def _age_weight(days: float | None, policy: Reports) -> float:
    if days is None:
        return policy.unknown_age_weight
    share = min(1.0, max(0.0, days) / policy.new_account_days)
    return policy.new_account_weight + (1 - policy.new_account_weight) * share


def _is_new(report: PostReport, policy: Reports) -> bool:
    days = _age(report)
    return report.upheld <= 0 and days is not None and days < policy.new_account_days


def _campaigns(reports: Sequence[PostReport], new: Sequence[int], burst_s: float) -> list[list[int]]:
    """Return the positions of new accounts' reports that came one soon after the other; reports are ordered by time."""
    groups: list[list[int]] = []
    for i in new:
        if groups and (reports[i].at - reports[groups[-1][-1]].at).total_seconds() <= burst_s:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _cap(weights: list[float], members: Sequence[int], cap: float) -> None:
    """Scale the members' weights so that together they are at most `cap`."""
    together = sum(weights[i] for i in members)
    if together > cap:
        for i in members:
            weights[i] *= cap / together

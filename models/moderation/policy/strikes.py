"""What repetition does: steps that count the decisions against an author within a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.moderation import Action, Reason
from models.moderation.policy.schema import Policy, StrikeStep, rank


@dataclass(frozen=True)
class StrikeEffect:
    """What the steps that are reached come to: the hardest floor, the lowest multiplier, and why."""

    at_least: Action = "allow"
    thresholds_times: float = 1.0
    reasons: tuple[Reason, ...] = ()
    detail: str = ""  # why thresholds are lower


NO_STRIKES = StrikeEffect()


def strikes_of(policy: Policy, times: Sequence[datetime], now: datetime) -> StrikeEffect:
    """Return what follows from the decisions that enforced and still stand, taken at `times`."""
    if not times or not policy.strikes:
        return NO_STRIKES
    at_least: Action = "allow"
    lowest: tuple[float, str] = (1.0, "")
    reasons = []
    for step in policy.strikes:
        found = _within(step, times, now)
        if found < step.count:
            continue
        detail = f"{found} decisions that enforced within {step.days:g} days"
        lowest = min(lowest, (step.thresholds_times, detail))
        if step.at_least is not None:
            reasons.append(
                Reason(
                    rule=f"strikes.{step.count}",
                    action=step.at_least,
                    value=float(found),
                    threshold=float(step.count),
                    detail=detail,
                )
            )
            at_least = max(at_least, step.at_least, key=rank)
    return StrikeEffect(at_least, lowest[0], tuple(reasons), lowest[1])


def _within(step: StrikeStep, times: Sequence[datetime], now: datetime) -> int:
    since = now - timedelta(days=step.days)
    return sum(since <= at <= now for at in times)

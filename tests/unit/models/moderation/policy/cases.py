"""Cases for policy tests."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from core.moderation import HARM_CLASSES, AuthorFacts, HarmClass, PostScores, PostToScore, ReactionFacts, ScoreFailure
from models.moderation.policy import Case, Policy, PostReport, parse_policy
from models.moderation.policy.load import packaged_policy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

PLAIN = """
name: plain
classes:
  violence: {review: 0.5, demote: 0.7, enforce: 0.9, factor: 0.3, severity: 4}
  nudity: {review: 0.5, demote: 0.7, enforce: 0.9, factor: 0.4, severity: 2}
  hate: {review: 0.5, demote: 0.7, enforce: 0.9, factor: 0.25, severity: 3}
  self_harm: {review: 0.3, demote: 0.7, enforce: null, factor: 0.6, severity: 5}
  spam: {review: 0.6, demote: 0.8, enforce: 0.95, factor: 0.2, urgency: batch, appealable: false}
"""
KNOWN = """
known_harm:
  terror: {harm: violence, action: enforce, distance: 6}
  nudes: {harm: nudity, action: demote, distance: 4}
"""


def policy(more: str = "", base: str = PLAIN) -> Policy:
    """Return the plain policy with more YAML behind it."""
    return parse_policy(f"{base}{more}", source="test.yaml")


def default_policy() -> Policy:
    return parse_policy(packaged_policy())


def rules(*lines: str) -> str:
    return "rules:\n" + "".join(f"  - {line}\n" for line in lines)


def scores(more: Mapping[HarmClass, float | None] | None = None, **fields: Any) -> PostScores:
    """Return scores: 0.01 for every class that is not named."""
    values: dict[HarmClass, float | None] = dict.fromkeys(HARM_CLASSES, 0.01) | dict(more or {})  # type: ignore[operator]
    return PostScores(**{"post_id": "post-1", "scores": values, "model_version": "moderation/1"} | fields)


def failure(code: str = "timeout", message: str = "no answer within 5 s") -> ScoreFailure:
    return ScoreFailure(post_id="post-1", code=code, message=message, transient=True)


def post(**fields: Any) -> PostToScore:
    author, reactions = fields.pop("author", {}), fields.pop("reactions", {})
    return PostToScore(
        **{"post_id": "post-1", "text": "hello", "posted_at": NOW - timedelta(hours=2)} | fields,
        author=AuthorFacts(**author),
        reactions=ReactionFacts(**reactions),
    )


def case(found: PostScores | ScoreFailure | Mapping[HarmClass, float | None] | None = None, **fields: Any) -> Case:
    """Return a case about a harmless post, unless it is told otherwise."""
    result = found if isinstance(found, PostScores | ScoreFailure) else scores(found)
    return Case(**{"post": post(), "scores": result, "now": NOW} | fields)


def report(reporter: str, minutes: float = 0, **fields: Any) -> PostReport:
    """Return a report of an account of a year, `minutes` before now."""
    return PostReport(
        **{"reporter_id": reporter, "at": NOW - timedelta(minutes=minutes), "account_age_days": 365.0} | fields
    )

"""Posts, decisions and jobs for tests of moderation's store."""

from datetime import UTC, datetime, timedelta
from typing import Any

from core.entries import Version
from core.moderation import Action, Decision, Reason
from storage.moderation import NewJob, StoredPost

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


class SetClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    def pass_(self, **duration: float) -> None:
        self.time += timedelta(**duration)


def a_post(post_id: str = "post-1", version: int = 1, **changes: Any) -> StoredPost:
    """Return a version of a post by `author-1`."""
    values: dict[str, Any] = {
        "post_id": post_id,
        "author_id": "author-1",
        "posted_at": NOW,
        "version": Version(version, 0),
        "event_id": f"event-of-{post_id}-{version}",
        "text": "a zebra at noon",
        "media_ids": ("a" * 64,),
        "links": ("https://example.org/zebra",),
        "item_ids": ("item-1",),
        "language": "en",
        "device": "phone",
        "words": 4,
        "profane_words": 0,
    }
    return StoredPost(**{**values, **changes})


def deleted(post_id: str = "post-1", version: int = 2) -> StoredPost:
    """Return what is made of a deletion: it says nothing but the post's id."""
    return StoredPost(
        post_id=post_id,
        author_id="",
        posted_at=NOW,
        version=Version(version, 0),
        event_id=f"deletion-of-{post_id}",
        state="deleted",
    )


def a_decision(
    decision_id: str = "decision-1",
    post_id: str = "post-1",
    action: Action = "enforce",
    supersedes: str | None = None,
    **changes: Any,
) -> Decision:
    """Return what a machine decides about a post by `author-1`."""
    harm = None if action == "allow" else "hate"
    values: dict[str, Any] = {
        "decision_id": decision_id,
        "post_id": post_id,
        "author_id": "author-1",
        "action": action,
        "version": Version(1, 0),
        "reasons": [Reason(rule=f"hate.{action}", action=action, harm=harm, value=0.9, threshold=0.8)],
        "actor": "model",
        "harm": harm,
        "factor": 0.3 if action == "demote" else 1.0,
        "scores": {"hate": 0.9, "spam": 0.1, "nudity": None},
        "signals": {"profane_rate": 0.25},
        "item_ids": ["item-1"],
        "policy_version": "policy-1",
        "model_version": "model-1",
        "supersedes": supersedes,
        "event_id": f"cause-of-{decision_id}",
        "decided_at": NOW,
    }
    return Decision(**{**values, **changes})


def a_job(post_id: str = "post-1", priority: float = 1.0, **changes: Any) -> NewJob:
    """Return a job for a post that the machine is not sure about."""
    values: dict[str, Any] = {"kind": "decision", "reason": "between the thresholds", "harm": "hate"}
    return NewJob(post_id=post_id, priority=priority, **{**values, **changes})

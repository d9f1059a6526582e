"""Verdicts for tests, and the records that carry them."""

from datetime import UTC, datetime
from typing import Any

from core.entries import Version
from core.moderation import Verdict, encode_moderation
from tests.fakes.entry_log import MemoryEntryLog

START = datetime(2026, 11, 22, tzinfo=UTC)


def verdict(post_id: str, state: str = "enforced", version: int = 1, **fields: Any) -> Verdict:
    """Return a verdict about a post of `author` that shows the item `item` unless told otherwise."""
    return Verdict(
        **{
            "post_id": post_id,
            "author_id": "author",
            "state": state,
            "version": Version(version, 0),
            "item_ids": ["item"],
            "harm": "violence",
            "decision_id": f"decision-{post_id}-{version}",
            "decided_at": START,
        }
        | fields
    )


def put(log: MemoryEntryLog, given: Verdict, timestamp_ms: int = 0) -> None:
    """Append a verdict to a log."""
    log.append(given.post_id, encode_moderation(given), timestamp_ms=timestamp_ms)

"""The work of one transaction: what it has read, and what it has to say at its end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection

from core.ports import OutgoingRecord
from storage.catalogue import outbox
from storage.moderation import audit, decisions, posts
from storage.moderation.audit import Entry
from storage.moderation.decisions import InForce, Told
from storage.moderation.posts import StoredPost


@dataclass(frozen=True)
class Cause:
    """What is known of the event that caused a decision: when it happened, and its trace."""

    event_time: datetime | None = None
    traceparent: str | None = None


NO_CAUSES: Mapping[str, Cause] = MappingProxyType({})
NOTHING_TOLD: Mapping[str, Told] = MappingProxyType({})


@dataclass
class Work:
    """A transaction that changes moderation. `causes` are by event id, `told` by decision id."""

    connection: Connection
    now: datetime
    causes: Mapping[str, Cause] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    outgoing: list[OutgoingRecord] = field(default_factory=list)
    posts: dict[str, StoredPost] = field(default_factory=dict)
    in_force: dict[str, InForce] = field(default_factory=dict)

    def load(self, post_ids: Iterable[str]) -> None:
        """Read posts and what is in force for them."""
        self.posts = posts.read(self.connection, list(dict.fromkeys(post_ids)))
        pointers = [post.decision_id for post in self.posts.values() if post.decision_id is not None]
        self.in_force = decisions.in_force(self.connection, pointers)

    def note(self, actor: str, action: str, subject: str, **payload: object) -> None:
        """Say something to the audit log, at the end."""
        self.entries.append(Entry(actor, action, subject, payload))

    def flush(self) -> int:
        """Append what is for the audit log; return the number of the last entry."""
        audit.append(self.connection, self.entries, self.now)
        self.entries.clear()
        return audit.head(self.connection).seq

    def finish(self) -> None:
        """Write what is for the outbox and the audit log, in the order it came about."""
        outbox.add(self.connection, self.outgoing, self.now)
        audit.append(self.connection, self.entries, self.now)

"""The audit log: what was done to whom, by whom, each entry bound to the one before it by a hash.

An entry is appended in the transaction of what it tells about. Its hash is SHA-256 over the JSON array
`[seq, at, actor, action, subject, payload, prev_hash]` (payload as the text that is stored; no spaces, UTF-8), so that
anybody can check the chain without this code. Nothing personal goes into it: ids of posts, decisions and jobs, and
hashes. That is why erasing a person does not break it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Text, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, Serial, clean

GENESIS = "0" * 64  # the `prev_hash` of the first entry
_LOCK = 0x52495645_4D4F44  # "RIVEMOD": an arbitrary number that is ours on a shared server
_PAGE = 5000


@dataclass(frozen=True)
class Entry:
    """What is to be appended. `actor` is `model`, `reader`, `author`, `system`, or `reviewer:ID`, `sweep:ID`, …

    `subject` is what it is about: a post's id wherever there is one, else a list, a policy's version or a sweep.
    """

    actor: str
    action: str
    subject: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class AuditEntry:
    """An entry as it is stored. `at` is ISO 8601 in UTC with microseconds, `payload` canonical JSON."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    payload: str
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The end of the log: keep `hash` elsewhere, and `verify` can tell whether anything was cut off since."""

    seq: int
    hash: str


class AuditRow(Base):
    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    at: Mapped[str]  # text, because it is hashed: the same on every database
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    payload: Mapped[str] = mapped_column(Text)
    prev_hash: Mapped[str]
    hash: Mapped[str]


def lock(connection: Connection) -> None:
    """Let no other transaction append before this one ends; SQLite has one writer at a time anyway.

    Every transaction that changes moderation takes it first, so that none of them ever waits for another's rows in a
    circle, and what it reads is what holds when it commits.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def append(connection: Connection, entries: Sequence[Entry], now: datetime) -> list[int]:
    """Append entries in order; return their numbers. The transaction holds `lock`."""
    if not entries:
        return []
    last = head(connection)
    at = now.astimezone(UTC).isoformat(timespec="microseconds")
    rows: list[dict[str, Any]] = []
    seq, previous = last.seq, last.hash
    for entry in entries:
        seq += 1
        row: dict[str, Any] = {
            "seq": seq,
            "at": at,
            "actor": clean(entry.actor),
            "action": entry.action,
            "subject": clean(entry.subject),
            "payload": clean(msgspec.json.encode(entry.payload, order="sorted").decode()),
            "prev_hash": previous,
        }
        previous = entry_hash(**row)
        rows.append({**row, "hash": previous})
    connection.execute(insert(AuditRow.__table__), rows)  # type: ignore[arg-type]
    return [row["seq"] for row in rows]


def entry_hash(seq: int, at: str, actor: str, action: str, subject: str, payload: str, prev_hash: str) -> str:
    """Return the hash of an entry: SHA-256 in lower-case hex over its fields as a JSON array."""
    fields = [seq, at, actor, action, subject, payload, prev_hash]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def head(connection: Connection) -> Head:
    """Return the end of the log; of an empty one, number 0 and the hash that the first entry follows."""
    row = connection.execute(select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)).first()
    return Head(row.seq, row.hash) if row else Head(0, GENESIS)


def read(connection: Connection, subject: str | None, limit: int) -> list[AuditEntry]:
    """Return the newest entries, newest first; only those about `subject` where one is given."""
    statement = select(AuditRow.__table__).order_by(AuditRow.seq.desc()).limit(limit)
    if subject is not None:
        statement = statement.where(AuditRow.subject == subject)
    return [AuditEntry(*row) for row in connection.execute(statement)]


def entry(connection: Connection, seq: int) -> AuditEntry | None:
    """Return one entry."""
    row = connection.execute(select(AuditRow.__table__).where(AuditRow.seq == seq)).first()
    return AuditEntry(*row) if row else None


def pages(connection: Connection) -> Iterator[list[AuditEntry]]:
    """Yield every entry in the order of the numbers, in lists of bounded length."""
    after: int | None = None
    while True:
        statement = select(AuditRow.__table__).order_by(AuditRow.seq).limit(_PAGE)
        if after is not None:
            statement = statement.where(AuditRow.seq > after)
        page = [AuditEntry(*row) for row in connection.execute(statement)]
        if not page:
            return
        yield page
        after = page[-1].seq

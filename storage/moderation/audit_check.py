"""Checking the audit log: the chain of hashes, and decisions against what the log says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from core.errors import InvalidEvent
from core.moderation import decode_decision
from storage.catalogue.base import chunks
from storage.moderation import audit
from storage.moderation.audit import GENESIS, AuditEntry, Head, entry_hash
from storage.moderation.decisions import DecisionRow, digest


@dataclass(frozen=True)
class AuditCheck:
    """What a check found. `broken` is the number of the first entry that is wrong, None where no entry is to blame."""

    ok: bool
    entries: int
    head: Head
    broken: int | None = None
    why: str = ""


class _Broken(Exception):
    def __init__(self, seq: int | None, why: str) -> None:
        super().__init__(why)
        self.seq = seq
        self.why = why


def check(connection: Connection, head: str | None) -> AuditCheck:
    """Read every entry once, in pages; memory stays bounded. Nothing has been read on the connection yet."""
    if connection.dialect.name == "postgresql":  # one state of the database from the first page to the last
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    last, entries, decided, found = Head(0, GENESIS), 0, 0, head in (None, GENESIS)
    try:
        for page in audit.pages(connection):
            for entry in page:
                _check_entry(entry, last)
                last = Head(entry.seq, entry.hash)
                found = found or entry.hash == head
            entries += len(page)
            decided += _check_decisions(connection, [entry for entry in page if entry.action == "decision.made"])
        stored = connection.scalar(select(func.count()).select_from(DecisionRow)) or 0
        if stored != decided:
            raise _Broken(None, f"there are {stored:,} decisions, and the log tells of {decided:,}")
        if not found:
            raise _Broken(
                None, f"no entry has the hash {head}: entries at the end were taken away, or the log was written anew"
            )
    except _Broken as broken:
        return AuditCheck(False, entries, last, broken.seq, broken.why)
    return AuditCheck(True, entries, last)


def _check_entry(entry: AuditEntry, last: Head) -> None:
    if entry.seq != last.seq + 1:
        raise _Broken(last.seq + 1, f"entry {last.seq + 1} is missing: {entry.seq} follows {last.seq}")
    if entry.prev_hash != last.hash:
        raise _Broken(entry.seq, f"entry {entry.seq} does not follow entry {last.seq}: it names another hash before it")
    fields = {name: value for name, value in vars(entry).items() if name != "hash"}
    if entry_hash(**fields) != entry.hash:
        raise _Broken(entry.seq, f"entry {entry.seq} does not match its hash: it was changed")


def _check_decisions(connection: Connection, entries: Sequence[AuditEntry]) -> int:
    told = {
        payload["decision"]: (entry, payload) for entry in entries for payload in [msgspec.json.decode(entry.payload)]
    }
    rows: dict[str, Any] = {}
    columns = (
        DecisionRow.decision_id,
        DecisionRow.post_id,
        DecisionRow.action,
        DecisionRow.harm,
        DecisionRow.actor,
        DecisionRow.actor_id,
        DecisionRow.body,
        DecisionRow.words,
        DecisionRow.erased_by,
    )
    for some in chunks(list(told)):
        for row in connection.execute(select(*columns).where(DecisionRow.decision_id.in_(some))):
            rows[row.decision_id] = row
    for decision_id, (entry, payload) in told.items():
        why = _wrong(connection, rows.get(decision_id), payload)
        if why:
            raise _Broken(entry.seq, f"decision {decision_id}, which entry {entry.seq} tells of, {why}")
    return len(told)


def _wrong(connection: Connection, row: Any, payload: dict[str, Any]) -> str:
    if row is None:
        return "is gone"
    if digest(_bytes(row.body)) != payload["body"]:
        return "was changed: its body does not match the hash in the log"
    try:
        decision = decode_decision(row.body)
    except InvalidEvent as error:
        return f"cannot be read: {error}"
    said = (decision.post_id, decision.action, decision.harm, decision.actor, decision.actor_id)
    if said != (row.post_id, row.action, row.harm, row.actor, row.actor_id):
        return "was changed: its columns do not say what its body says"
    if digest(_bytes(row.words)) != payload["words"] and not _was_erased(connection, row):
        return "was changed: its author, evidence or note does not match the hash in the log"
    return ""


def _bytes(stored: bytes | str) -> bytes:
    return stored.encode() if isinstance(stored, str) else stored  # SQLite takes text where there were bytes


def _was_erased(connection: Connection, row: Any) -> bool:
    """Tell whether an entry (checked like every other) says that the decision lost its personal part."""
    entry = audit.entry(connection, row.erased_by) if row.erased_by is not None else None
    if entry is None or entry.action != "user.erased":
        return False
    return row.decision_id in msgspec.json.decode(entry.payload)["decisions"]

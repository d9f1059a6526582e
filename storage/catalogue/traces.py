"""Traces: what was known and decided when an answer was given, so that "why" has an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import JSON, Connection, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, upsert

_IDS_PER_QUERY = 500  # SQLite takes 999 variables in older builds


@dataclass(frozen=True)
class TraceRecord:
    """One answer's explanation.

    `payload` is what msgspec can write as JSON, dataclasses included, so that a record costs nothing to make while
    somebody waits; it is read back plain. A number that JSON does not have (NaN) becomes null.
    """

    trace_id: str
    kind: str
    created_at: datetime
    payload: dict[str, Any]

    def plain(self) -> "TraceRecord":
        """Return the record as it is read back from the catalogue."""
        return replace(self, payload=msgspec.json.decode(msgspec.json.encode(self.payload)))


class TraceRow(Base):
    __tablename__ = "traces"

    trace_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


def put(connection: Connection, records: Sequence[TraceRecord]) -> None:
    if records:
        statement = upsert(connection.dialect.name, TraceRow).on_conflict_do_nothing()
        connection.execute(statement, [_row(record) for record in records])


def _row(record: TraceRecord) -> dict[str, Any]:
    return {
        "trace_id": record.trace_id,
        "kind": record.kind,
        "created_at": record.created_at,
        "payload": record.payload,
    }


def read(connection: Connection, trace_id: str) -> TraceRecord | None:
    row = connection.execute(select(TraceRow.__table__).where(TraceRow.trace_id == trace_id)).mappings().first()
    return TraceRecord(**row) if row else None  # type: ignore[arg-type]  # the columns are the fields


def read_many(connection: Connection, trace_ids: Sequence[str]) -> dict[str, TraceRecord]:
    found: dict[str, TraceRecord] = {}
    for start in range(0, len(trace_ids), _IDS_PER_QUERY):
        wanted = TraceRow.trace_id.in_(trace_ids[start : start + _IDS_PER_QUERY])
        for row in connection.execute(select(TraceRow.__table__).where(wanted)).mappings():
            found[row["trace_id"]] = TraceRecord(**row)  # type: ignore[arg-type]  # the columns are the fields
    return found


def prune(connection: Connection, older_than: datetime) -> int:
    return connection.execute(delete(TraceRow).where(TraceRow.created_at < older_than)).rowcount

"""The outbox: records to publish, written in the transaction of what they tell about; a relay sends them."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, delete, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from core.ports import OutgoingRecord
from storage.catalogue.base import Base, Serial, UtcDateTime, chunks


class OutboxRow(Base):
    __tablename__ = "outbox"
    __table_args__ = {"sqlite_autoincrement": True}  # rows are removed when sent: a number must not come twice

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    topic: Mapped[str]
    key: Mapped[str]
    value: Mapped[bytes | None]
    headers: Mapped[dict[str, str]] = mapped_column(JSON)  # values in base64
    partition: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


def add(connection: Connection, records: Sequence[OutgoingRecord], now: datetime) -> None:
    if records:
        connection.execute(insert(OutboxRow.__table__), [_row(record, now) for record in records])  # type: ignore[arg-type]


def pending(connection: Connection, limit: int) -> list[tuple[int, OutgoingRecord]]:
    rows = connection.execute(select(OutboxRow.__table__).order_by(OutboxRow.id).limit(limit))
    return [(row.id, _record(row)) for row in rows]


def remove(connection: Connection, ids: Sequence[int]) -> None:
    for some in chunks(ids):
        connection.execute(delete(OutboxRow).where(OutboxRow.id.in_(some)))


def size(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(OutboxRow)) or 0


def _row(record: OutgoingRecord, now: datetime) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "key": record.key,
        "value": record.value,
        "headers": {name: base64.b64encode(value).decode() for name, value in record.headers.items()},
        "partition": record.partition,
        "created_at": now,
    }


def _record(row: Any) -> OutgoingRecord:
    return OutgoingRecord(
        topic=row.topic,
        key=row.key,
        value=None if row.value is None else bytes(row.value),
        headers={name: base64.b64decode(value) for name, value in row.headers.items()},
        partition=row.partition,
    )

"""The inbox: which events each consumer has applied, written in the transaction of their effects."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, chunks, upsert


class InboxRow(Base):
    __tablename__ = "inbox"

    consumer: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    applied_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


def seen(connection: Connection, consumer: str, event_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for some in chunks(event_ids):
        statement = select(InboxRow.event_id).where(InboxRow.consumer == consumer, InboxRow.event_id.in_(some))
        found.update(connection.scalars(statement))
    return found


def record(connection: Connection, consumer: str, event_ids: Sequence[str], now: datetime) -> None:
    if event_ids:
        statement = upsert(connection.dialect.name, InboxRow).on_conflict_do_nothing()
        rows = [{"consumer": consumer, "event_id": event_id, "applied_at": now} for event_id in sorted(event_ids)]
        connection.execute(statement, rows)


def prune(connection: Connection, older_than: datetime) -> int:
    return connection.execute(delete(InboxRow).where(InboxRow.applied_at < older_than)).rowcount

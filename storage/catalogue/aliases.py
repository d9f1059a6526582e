"""Model aliases: which version of a model `champion` (or another name) means, and who changed that, when and why."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, Serial, UtcDateTime, clean, upsert


@dataclass(frozen=True)
class AliasChange:
    """One entry of an alias' history. `previous` is None the first time."""

    model: str
    name: str
    version: str
    previous: str | None
    actor: str
    reason: str
    changed_at: datetime


class AliasRow(Base):
    __tablename__ = "aliases"

    model: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]


class AliasHistoryRow(Base):
    __tablename__ = "alias_history"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    version: Mapped[str]
    previous: Mapped[str | None]
    actor: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


def read(connection: Connection, model: str, name: str) -> str | None:
    return connection.scalar(select(AliasRow.version).where(AliasRow.model == model, AliasRow.name == name))


def write(
    connection: Connection, model: str, name: str, version: str, *, actor: str, reason: str, now: datetime
) -> None:
    previous = connection.scalar(
        select(AliasRow.version).where(AliasRow.model == model, AliasRow.name == name).with_for_update()
    )
    statement = upsert(connection.dialect.name, AliasRow).on_conflict_do_update(
        index_elements=["model", "name"], set_={"version": version}
    )
    connection.execute(statement, {"model": model, "name": name, "version": version})
    connection.execute(
        insert(AliasHistoryRow).values(
            model=model,
            name=name,
            version=version,
            previous=previous,
            actor=clean(actor),
            reason=clean(reason),
            changed_at=now,
        )
    )


def history(connection: Connection, model: str) -> list[AliasChange]:
    rows = connection.execute(
        select(AliasHistoryRow.__table__).where(AliasHistoryRow.model == model).order_by(AliasHistoryRow.id)
    )
    return [
        AliasChange(row.model, row.name, row.version, row.previous, row.actor, row.reason, row.changed_at)
        for row in rows
    ]

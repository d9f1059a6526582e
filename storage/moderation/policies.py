"""Policies seen: the text of every version that decided anything, so that a decision can be read years later."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Text, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime


@dataclass(frozen=True)
class PolicyText:
    """A version of the policy, as the file said it."""

    version: str
    text: str
    seen_at: datetime


class PolicyRow(Base):
    __tablename__ = "policies"

    version: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


def read(connection: Connection, version: str) -> PolicyText | None:
    """Return a version's text."""
    row = connection.execute(select(PolicyRow.__table__).where(PolicyRow.version == version)).first()
    return PolicyText(*row) if row else None


def newest(connection: Connection, limit: int) -> list[PolicyText]:
    """Return versions, the one seen last first."""
    statement = select(PolicyRow.__table__).order_by(PolicyRow.seen_at.desc(), PolicyRow.version).limit(limit)
    return [PolicyText(*row) for row in connection.execute(statement)]


def add(connection: Connection, policy: PolicyText) -> None:
    """Add a version."""
    connection.execute(insert(PolicyRow.__table__), vars(policy))  # type: ignore[arg-type]

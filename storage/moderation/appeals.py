"""Appeals: an author objects to a decision, once, and another person looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import CheckConstraint, Connection, Index, Row, func, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, chunks, clean

TEXT_LENGTH = 5_000  # characters
#: `moot`: the post is gone or changed, or nothing restricts it any more without a person having said so.
AppealState = Literal["open", "upheld", "reversed", "moot"]


@dataclass(frozen=True)
class Appeal:
    """An appeal. `outcome_id` is the decision that a person made of it."""

    appeal_id: str
    decision_id: str
    post_id: str
    author_id: str
    text: str
    state: AppealState
    opened_at: datetime
    closed_at: datetime | None = None
    reviewer: str | None = None
    outcome_id: str | None = None


class AppealRow(Base):
    __tablename__ = "appeals"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'upheld', 'reversed', 'moot')", name="state"),
        Index(
            "uq_appeals_decision_id",
            "decision_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    appeal_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str] = mapped_column(index=True)
    post_id: Mapped[str] = mapped_column(index=True)
    author_id: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]
    state: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reviewer: Mapped[str | None]
    outcome_id: Mapped[str | None]


def read(connection: Connection, appeal_id: str) -> Appeal | None:
    """Return an appeal in whatever state it is."""
    row = connection.execute(select(AppealRow.__table__).where(AppealRow.appeal_id == appeal_id)).first()
    return _appeal(row) if row else None


def of_decision(connection: Connection, decision_id: str) -> list[Appeal]:
    """Return the appeals against a decision, oldest first."""
    statement = select(AppealRow.__table__).where(AppealRow.decision_id == decision_id)
    return [_appeal(row) for row in connection.execute(statement.order_by(AppealRow.opened_at))]


def open_of_posts(connection: Connection, post_ids: Sequence[str]) -> dict[str, Appeal]:
    """Return the open appeals, by post: a post has at most one, because only the decision in force can be appealed."""
    found: dict[str, Appeal] = {}
    for some in chunks(post_ids):
        rows = connection.execute(select(AppealRow.__table__).where(AppealRow.post_id.in_(some)))
        found.update({row.post_id: _appeal(row) for row in rows if row.state == "open"})
    return found


def count(connection: Connection) -> dict[AppealState, int]:
    """Return how many appeals there are in each state."""
    rows = connection.execute(select(AppealRow.state, func.count()).group_by(AppealRow.state))
    return {cast(AppealState, row[0]): row[1] for row in rows}


def add(connection: Connection, appeal: Appeal) -> None:
    """Add an appeal."""
    row = {**vars(appeal), "text": clean(appeal.text)}
    connection.execute(insert(AppealRow.__table__), row)  # type: ignore[arg-type]


def close(
    connection: Connection,
    appeal_id: str,
    state: AppealState,
    now: datetime,
    reviewer: str | None = None,
    outcome_id: str | None = None,
) -> None:
    """Record what became of an appeal."""
    statement = update(AppealRow).where(AppealRow.appeal_id == appeal_id)
    connection.execute(statement.values(state=state, closed_at=now, reviewer=reviewer, outcome_id=outcome_id))


def erase(connection: Connection, author_id: str, pseudonym: str) -> None:
    """Let an author's appeals stand under a pseudonym, without their words."""
    statement = update(AppealRow).where(AppealRow.author_id == author_id)
    connection.execute(statement.values(author_id=pseudonym, text=""))


def _appeal(row: Row[Any]) -> Appeal:
    return Appeal(
        appeal_id=row.appeal_id,
        decision_id=row.decision_id,
        post_id=row.post_id,
        author_id=row.author_id,
        text=row.text,
        state=cast(AppealState, row.state),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        reviewer=row.reviewer,
        outcome_id=row.outcome_id,
    )

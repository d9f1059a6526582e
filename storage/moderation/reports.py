"""Reports: who reported which post for which harm, once each; also of posts that have not arrived yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from core.moderation import HarmClass
from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

NOTE_LENGTH = 1_000  # characters; what is longer is cut
ReportOutcome = Literal["upheld", "rejected"]


@dataclass(frozen=True)
class Report:
    """One person's report of a post. `harm` None: none of the classes was named.

    `outcome` is the store's: whether the person who last decided about the post restricted it.
    """

    post_id: str
    reporter_id: str
    harm: HarmClass | None
    reported_at: datetime
    event_id: str = ""
    note: str = ""
    outcome: ReportOutcome | None = None


@dataclass(frozen=True)
class Reporter:
    """How a reporter has done: reports made, and how many of them people agreed or disagreed with."""

    reporter_id: str
    reports: int = 0
    upheld: int = 0
    rejected: int = 0
    first_at: datetime | None = None


class ReportRow(Base):
    __tablename__ = "reports"

    post_id: Mapped[str] = mapped_column(primary_key=True)
    reporter_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    harm: Mapped[str] = mapped_column(primary_key=True)  # empty: none was named
    reported_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    event_id: Mapped[str]
    note: Mapped[str]
    outcome: Mapped[str | None]


def add(connection: Connection, reports: Sequence[Report]) -> list[Report]:
    """Keep those that are new; return them."""
    new: list[Report] = []
    for some in chunks(reports):
        rows: dict[tuple[str, str, str], Report] = {}
        for one in some:
            rows.setdefault((one.post_id, one.reporter_id, one.harm or ""), one)
        wanted = ReportRow.post_id.in_({one.post_id for one in some})
        keys = select(ReportRow.post_id, ReportRow.reporter_id, ReportRow.harm).where(wanted)
        for row in connection.execute(keys.where(ReportRow.reporter_id.in_({one.reporter_id for one in some}))):
            rows.pop((row.post_id, row.reporter_id, row.harm), None)
        if rows:
            values = [
                {
                    "post_id": one.post_id,
                    "reporter_id": one.reporter_id,
                    "harm": one.harm or "",
                    "reported_at": one.reported_at,
                    "event_id": one.event_id,
                    "note": clean(one.note)[:NOTE_LENGTH],
                    "outcome": None,
                }
                for _, one in sorted(rows.items())
            ]
            connection.execute(upsert(connection.dialect.name, ReportRow), values)
            new += [replace(one, outcome=None) for one in rows.values()]
    return new


def of_posts(connection: Connection, post_ids: Sequence[str]) -> dict[str, list[Report]]:
    """Return each post's reports, oldest first."""
    found: dict[str, list[Report]] = {post_id: [] for post_id in post_ids}
    for some in chunks(list(found)):
        statement = select(ReportRow.__table__).where(ReportRow.post_id.in_(some))
        for row in connection.execute(statement.order_by(ReportRow.reported_at, ReportRow.reporter_id)):
            found[row.post_id].append(_report(row))
    return found


def count(connection: Connection, post_ids: Sequence[str]) -> dict[str, int]:
    """Return how many reports posts have; one without any is left out."""
    found: dict[str, int] = {}
    for some in chunks(post_ids):
        statement = select(ReportRow.post_id, func.count()).where(ReportRow.post_id.in_(some))
        found.update({row[0]: row[1] for row in connection.execute(statement.group_by(ReportRow.post_id))})
    return found


def by(connection: Connection, post_id: str, reporter_id: str) -> bool:
    """Tell whether somebody has reported a post."""
    statement = select(ReportRow.harm).where(ReportRow.post_id == post_id, ReportRow.reporter_id == reporter_id)
    return connection.execute(statement.limit(1)).first() is not None


def reporters(connection: Connection, reporter_ids: Sequence[str]) -> dict[str, Reporter]:
    """Return how each reporter has done."""
    found = {reporter_id: Reporter(reporter_id) for reporter_id in reporter_ids}
    columns = (
        ReportRow.reporter_id,
        func.count(),
        func.count().filter(ReportRow.outcome == "upheld"),
        func.count().filter(ReportRow.outcome == "rejected"),
        func.min(ReportRow.reported_at),
    )
    for some in chunks(list(found)):
        statement = select(*columns).where(ReportRow.reporter_id.in_(some)).group_by(ReportRow.reporter_id)
        found.update({row[0]: Reporter(*row) for row in connection.execute(statement)})
    return found


def settle(connection: Connection, post_id: str, outcome: ReportOutcome) -> None:
    """Remember whether the person who decided about a post agreed with its reporters."""
    connection.execute(update(ReportRow).where(ReportRow.post_id == post_id).values(outcome=outcome))


def is_known(connection: Connection, reporter_id: str) -> bool:
    """Tell whether somebody has reported anything."""
    statement = select(ReportRow.post_id).where(ReportRow.reporter_id == reporter_id).limit(1)
    return connection.scalar(statement) is not None


def erase(connection: Connection, reporter_id: str, pseudonym: str) -> None:
    """Let a reporter's reports stand under a pseudonym, without their words."""
    statement = update(ReportRow).where(ReportRow.reporter_id == reporter_id)
    connection.execute(statement.values(reporter_id=pseudonym, note=""))


def _report(row: Row) -> Report:
    return Report(
        post_id=row.post_id,
        reporter_id=row.reporter_id,
        harm=cast(HarmClass | None, row.harm or None),
        reported_at=row.reported_at,
        event_id=row.event_id,
        note=row.note,
        outcome=cast(ReportOutcome | None, row.outcome),
    )

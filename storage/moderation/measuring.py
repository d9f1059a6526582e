"""Measuring: what happened in a time, counted for the measures of moderation. Reads along indexes, changes nothing."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, distinct, func, select

from core.moderation import Action, HarmClass
from core.moderation_counts import Counted, DrawnPost, EnforcedPost, ReportedPost, ReportsOf
from storage.catalogue.base import chunks
from storage.moderation import draws
from storage.moderation.appeals import AppealRow
from storage.moderation.authors import StrikeRow
from storage.moderation.decisions import DecisionRow
from storage.moderation.draws import DrawRow
from storage.moderation.jobs import JobRow
from storage.moderation.posts import PostRow
from storage.moderation.recording import PEOPLE
from storage.moderation.reports import ReportRow
from storage.moderation.transactions import Transactions
from storage.moderation.waiting import RESTRICTING, open_jobs


class Measuring(Transactions):
    """What moderation is measured by: impressions drawn by chance, and counts of what happened."""

    def open_samples(self, rates: dict[str, float]) -> list[str]:
        """Open a job for each of some drawn posts that nobody has looked at; return the ids of those open now.

        Args:
            rates: by post id, the share of impressions that are drawn.
        """
        with self._working() as work:
            work.load(rates)
            return open_jobs(work, draws.jobs(work, rates))

    def drawn_to_look_at(self, since: datetime) -> dict[str, float]:
        """Return the drawn posts that nobody has looked at and no job waits for, with the share of their draws."""
        with self._database.reading() as connection:
            return draws.to_look_at(connection, since)

    def counted(self, since: datetime) -> Counted:
        """Count what happened from a time until now."""
        until = self._clock.now()
        with self._database.reading() as connection:
            decided = _appeals(connection, since)
            return Counted(
                since=since,
                until=until,
                drawn=_drawn(connection, since),
                enforced=_enforced(connection, since),
                reported=_reported(connection, since),
                reports=_reports(connection, since),
                appeals_reversed=decided.get("reversed", 0),
                appeals_upheld=decided.get("upheld", 0),
                appeals_open=connection.scalar(select(func.count()).where(AppealRow.state == "open")) or 0,
                restricted_by_machine=_restricted_by_machine(connection, since),
            )


def _drawn(connection: Connection, since: datetime) -> list[DrawnPost]:
    statement = select(
        DrawRow.post_id, DrawRow.seen_time_us, DrawRow.seen_seq, func.count().label("draws"),
        func.sum(1.0 / DrawRow.rate).label("weight"),
    )  # fmt: skip
    rows = connection.execute(
        statement.where(DrawRow.at >= since).group_by(DrawRow.post_id, DrawRow.seen_time_us, DrawRow.seen_seq)
    ).all()
    post_ids = sorted({row.post_id for row in rows})
    said, flagged = _said(connection, post_ids), _flagged(connection, post_ids)
    found = []
    for row in rows:
        action, harm = said.get((row.post_id, row.seen_time_us, row.seen_seq), (None, None))
        found.append(
            DrawnPost(
                post_id=row.post_id,
                draws=row.draws,
                weight=row.weight,
                flagged=row.post_id in flagged,
                action=action,
                harm=harm,
            )
        )
    return found


def _said(
    connection: Connection, post_ids: Sequence[str]
) -> dict[tuple[str, int, int], tuple[Action, HarmClass | None]]:
    """Return what people last decided, by post and version of it."""
    columns = (
        DecisionRow.post_id,
        DecisionRow.of_time_us,
        DecisionRow.of_seq,
        DecisionRow.action,
        DecisionRow.harm,
        DecisionRow.actor,
    )
    found: dict[tuple[str, int, int], tuple[Action, HarmClass | None]] = {}
    for row in _about(connection, columns, post_ids):
        if row.actor in PEOPLE:
            key = (row.post_id, row.of_time_us, row.of_seq)
            found[key] = (cast(Action, row.action), cast(HarmClass | None, row.harm))
    return found


def _flagged(connection: Connection, post_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for some in chunks(post_ids):
        statement = select(JobRow.post_id).where(JobRow.post_id.in_(some), JobRow.kind != "sample").distinct()
        found.update(connection.scalars(statement))
    return found


def _enforced(connection: Connection, since: datetime) -> list[EnforcedPost]:
    statement = select(StrikeRow, PostRow.posted_at).join(PostRow, PostRow.post_id == StrikeRow.post_id)
    columns = (StrikeRow.post_id, StrikeRow.harm, StrikeRow.at, StrikeRow.impressions, PostRow.posted_at)
    rows = connection.execute(statement.with_only_columns(*columns).where(StrikeRow.at >= since)).all()
    first: dict[str, datetime] = {}
    for some in chunks([row.post_id for row in rows]):
        earliest = select(ReportRow.post_id, func.min(ReportRow.reported_at).label("at"))
        for report in connection.execute(earliest.where(ReportRow.post_id.in_(some)).group_by(ReportRow.post_id)):
            first[report.post_id] = report.at
    return [
        EnforcedPost(
            post_id=row.post_id,
            harm=cast(HarmClass | None, row.harm),
            posted_at=row.posted_at,
            enforced_at=row.at,
            reported_at=first.get(row.post_id),
            impressions=row.impressions or 0,
        )
        for row in rows
    ]


def _reported(connection: Connection, since: datetime) -> list[ReportedPost]:
    """Return posts by their first report in the time; not those that were down, nor those that are gone undecided."""
    earliest = select(ReportRow.post_id, PostRow.state, func.min(ReportRow.reported_at).label("at"))
    earliest = earliest.join(PostRow, PostRow.post_id == ReportRow.post_id).where(ReportRow.reported_at >= since)
    rows = connection.execute(earliest.group_by(ReportRow.post_id, PostRow.state)).all()
    decisions: dict[str, list[tuple[datetime, str]]] = {}
    columns = (DecisionRow.post_id, DecisionRow.decided_at, DecisionRow.action)
    for one in _about(connection, columns, [row.post_id for row in rows]):
        decisions.setdefault(one.post_id, []).append((one.decided_at, one.action))
    found = []
    for row in rows:
        before = [action for at, action in decisions.get(row.post_id, ()) if at < row.at]
        after = [at for at, _ in decisions.get(row.post_id, ()) if at >= row.at]
        if (before and before[-1] == "enforce") or (not after and row.state == "deleted"):
            continue
        found.append(ReportedPost(post_id=row.post_id, reported_at=row.at, decided_at=min(after, default=None)))
    return found


def _about(connection: Connection, columns: Sequence[Any], post_ids: Sequence[str]) -> Iterable[Any]:
    """Return columns of the decisions about posts, each post's oldest first."""
    for some in chunks(post_ids):
        statement = select(*columns).where(DecisionRow.post_id.in_(some))
        yield from connection.execute(
            statement.order_by(DecisionRow.post_id, DecisionRow.version_time_us, DecisionRow.version_seq)
        )


def _reports(connection: Connection, since: datetime) -> dict[HarmClass | None, ReportsOf]:
    statement = select(
        ReportRow.harm,
        func.count().label("reports"),
        func.count().filter(ReportRow.outcome == "upheld").label("upheld"),
        func.count().filter(ReportRow.outcome == "rejected").label("rejected"),
    )
    rows = connection.execute(statement.where(ReportRow.reported_at >= since).group_by(ReportRow.harm))
    return {
        cast(HarmClass | None, row.harm or None): ReportsOf(
            reports=row.reports, upheld=row.upheld, rejected=row.rejected
        )
        for row in rows
    }


def _appeals(connection: Connection, since: datetime) -> dict[str, int]:
    statement = select(AppealRow.state, func.count()).where(AppealRow.closed_at >= since)
    return {row[0]: row[1] for row in connection.execute(statement.group_by(AppealRow.state))}


def _restricted_by_machine(connection: Connection, since: datetime) -> int:
    statement = select(func.count(distinct(DecisionRow.post_id))).where(
        DecisionRow.decided_at >= since, DecisionRow.action.in_(RESTRICTING), DecisionRow.actor.not_in(PEOPLE)
    )
    return connection.scalar(statement) or 0

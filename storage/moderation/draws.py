"""Draws: impressions drawn by chance, whose posts people look at. Each counts, however often its post was drawn."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Index, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, upsert
from storage.moderation import posts
from storage.moderation.jobs import OPEN, JobRow, NewJob
from storage.moderation.posts import PostRow
from storage.moderation.reactions import ReactionDelta
from storage.moderation.work import Work


class DrawRow(Base):
    __tablename__ = "impression_draws"
    __table_args__ = (Index("ix_impression_draws_at_post_id", "at", "post_id"),)

    event_id: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    rate: Mapped[float]  # the share of impressions that were drawn
    seen_time_us: Mapped[int] = mapped_column(BigInteger)  # the version of the post that was shown
    seen_seq: Mapped[int] = mapped_column(BigInteger)


def add(connection: Connection, drawn: Sequence[ReactionDelta], rates: Mapping[str, float], now: datetime) -> None:
    """Keep drawn impressions of posts that are known. `rates`: by event id."""
    found = posts.read(connection, sorted({delta.post_id for delta in drawn}))
    rows = [
        {
            "event_id": delta.event_id,
            "post_id": delta.post_id,
            "at": delta.at or now,
            "rate": rates[delta.event_id],
            "seen_time_us": found[delta.post_id].version.time_us,
            "seen_seq": found[delta.post_id].version.seq,
        }
        for delta in drawn
        if delta.post_id in found
    ]
    if rows:
        connection.execute(upsert(connection.dialect.name, DrawRow).on_conflict_do_nothing(), rows)


def to_look_at(connection: Connection, since: datetime) -> dict[str, float]:
    """Return the drawn posts that nobody has looked at and no sample job waits for, with the share of their draws."""
    waits = select(JobRow.job_id).where(
        JobRow.post_id == DrawRow.post_id, JobRow.kind == "sample", JobRow.state.in_(OPEN)
    )
    statement = (
        select(DrawRow.post_id, DrawRow.rate)
        .join(PostRow, PostRow.post_id == DrawRow.post_id)
        .where(DrawRow.at >= since, PostRow.state == "active", PostRow.label.is_(None))
        .where(PostRow.decision_id.is_not(None), ~waits.exists())
        .order_by(DrawRow.at)
    )
    return {row.post_id: row.rate for row in connection.execute(statement)}


def jobs(work: Work, rates: Mapping[str, float]) -> list[NewJob]:
    """Return the jobs to look at drawn posts, one for a version of a post; `work` has loaded the posts.

    One without a decision is left for later: there is nothing to review yet. What a person looked at already is known.
    """
    return [
        NewJob(
            post.post_id,
            "sample",
            0.0,
            "prevalence",
            sample_rate=rates[post.post_id],
            cause=f"sample:{post.post_id}:{post.version.header().decode()}",
        )
        for post in work.posts.values()
        if post.state == "active" and post.decision_id is not None and post.label is None
    ]

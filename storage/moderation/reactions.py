"""Reactions: what others did with a post, counted exactly once per event, and the newest comments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Index, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

NEWEST_COMMENTS = 20
COMMENT_BYTES = 2_000  # of UTF-8; what is longer is cut, so a post keeps at most 40 kB of comments
_COUNTERS = ("impressions", "likes", "shares", "comments")


@dataclass(frozen=True)
class ReactionDelta:
    """What one event adds to a post's counters. `comment` is a comment's text, `user_id` who wrote it, `at` when."""

    event_id: str
    post_id: str
    impressions: int = 0
    likes: int = 0
    shares: int = 0
    comments: int = 0
    comment: str | None = None
    user_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Reactions:
    """What others did with a post so far. `reports` counts reporters and classes, unweighted; comments newest first."""

    impressions: int = 0
    likes: int = 0
    shares: int = 0
    comments: int = 0
    reports: int = 0
    comment_texts: tuple[str, ...] = field(default=())


class ReactionRow(Base):
    __tablename__ = "post_reactions"

    post_id: Mapped[str] = mapped_column(primary_key=True)
    impressions: Mapped[int] = mapped_column(BigInteger)
    likes: Mapped[int] = mapped_column(BigInteger)
    shares: Mapped[int] = mapped_column(BigInteger)
    comments: Mapped[int] = mapped_column(BigInteger)


class CommentRow(Base):
    __tablename__ = "post_comments"
    __table_args__ = (Index("ix_post_comments_post_id_at", "post_id", "at"),)

    event_id: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[str]
    user_id: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)


def add(connection: Connection, deltas: Sequence[ReactionDelta], now: datetime) -> None:
    """Add to the counters: the caller has left out what was applied before."""
    totals: dict[str, dict[str, Any]] = {}
    for delta in deltas:
        row = totals.setdefault(delta.post_id, {"post_id": delta.post_id, **dict.fromkeys(_COUNTERS, 0)})
        for name in _COUNTERS:
            row[name] += getattr(delta, name)
    if totals:
        insert = upsert(connection.dialect.name, ReactionRow)
        statement = insert.on_conflict_do_update(
            index_elements=["post_id"],
            set_={name: getattr(ReactionRow, name) + insert.excluded[name] for name in _COUNTERS},
        )
        connection.execute(statement, [totals[post_id] for post_id in sorted(totals)])
    _keep_comments(connection, [delta for delta in deltas if delta.comment], now)


def _keep_comments(connection: Connection, deltas: Sequence[ReactionDelta], now: datetime) -> None:
    if not deltas:
        return
    rows = [
        {
            "event_id": delta.event_id,
            "post_id": delta.post_id,
            "user_id": delta.user_id,
            "text": _bounded(delta.comment or ""),
            "at": delta.at or now,
        }
        for delta in deltas
    ]
    connection.execute(upsert(connection.dialect.name, CommentRow).on_conflict_do_nothing(), rows)
    for post_id in sorted({delta.post_id for delta in deltas}):
        surplus = (
            select(CommentRow.event_id)
            .where(CommentRow.post_id == post_id)
            .order_by(CommentRow.at.desc(), CommentRow.event_id.desc())
            .limit(-1 if connection.dialect.name == "sqlite" else None)
            .offset(NEWEST_COMMENTS)
        )
        too_old = connection.scalars(surplus).all()
        if too_old:
            connection.execute(delete(CommentRow).where(CommentRow.event_id.in_(too_old)))


def read(connection: Connection, post_ids: Sequence[str], reports: Mapping[str, int]) -> dict[str, Reactions]:
    """Return each post's reactions; zeros for one that nobody reacted to. `reports` counts them by post."""
    counted: dict[str, Any] = {}
    texts: dict[str, list[str]] = {}
    for some in chunks(post_ids):
        for row in connection.execute(select(ReactionRow.__table__).where(ReactionRow.post_id.in_(some))):
            counted[row.post_id] = row
        comments = select(CommentRow.post_id, CommentRow.text).where(CommentRow.post_id.in_(some))
        for row in connection.execute(comments.order_by(CommentRow.at.desc(), CommentRow.event_id.desc())):
            texts.setdefault(row.post_id, []).append(row.text)
    return {
        post_id: Reactions(
            **{name: getattr(counted[post_id], name) if post_id in counted else 0 for name in _COUNTERS},
            reports=reports.get(post_id, 0),
            comment_texts=tuple(texts.get(post_id, ())),
        )
        for post_id in post_ids
    }


def forget_comments(connection: Connection, post_ids: Iterable[str]) -> None:
    """Drop the comments of posts."""
    for some in chunks(list(post_ids)):
        connection.execute(delete(CommentRow).where(CommentRow.post_id.in_(some)))


def is_known(connection: Connection, user_id: str) -> bool:
    """Tell whether a comment of somebody is kept."""
    return connection.scalar(select(CommentRow.event_id).where(CommentRow.user_id == user_id).limit(1)) is not None


def erase(connection: Connection, user_id: str) -> None:
    """Drop what a user commented."""
    connection.execute(delete(CommentRow).where(CommentRow.user_id == user_id))


def _bounded(comment: str) -> str:
    return clean(comment).encode()[:COMMENT_BYTES].decode("utf-8", "ignore")

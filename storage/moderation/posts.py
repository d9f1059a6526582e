"""Posts: the newest version of each, which decision is in force for it, and what people last said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, cast

from sqlalchemy import JSON, BigInteger, CheckConstraint, Connection, Index, Row, bindparam, select, update
from sqlalchemy.orm import Mapped, mapped_column

from core.entries import Version
from core.moderation import Action, HarmClass
from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

PostState = Literal["active", "deleted"]


@dataclass(frozen=True)
class StoredPost:
    """One post as of `version`. A deleted post is only remembered: it has ids, state, version, times and counts.

    `words` and `profane_words` count the words of its text; they make up its author's rate of profane words, also when
    the post is gone. `posted_at` is kept from the first version. `decision_id` (the decision in force) and the label (a
    person's word on this version) are the store's: what a caller puts there is not recorded.
    """

    post_id: str
    author_id: str
    posted_at: datetime
    version: Version
    event_id: str
    text: str = ""
    media_ids: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    item_ids: tuple[str, ...] = ()
    language: str = "und"
    device: str | None = None
    state: PostState = "active"
    words: int = 0
    profane_words: int = 0
    decision_id: str | None = None
    label: Action | None = None
    label_harm: HarmClass | None = None


class PostRow(Base):
    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("state IN ('active', 'deleted')", name="state"),
        Index("ix_posts_posted_at_post_id", "posted_at", "post_id"),
    )

    post_id: Mapped[str] = mapped_column(primary_key=True)
    author_id: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]
    media_ids: Mapped[list[str]] = mapped_column(JSON)
    links: Mapped[list[str]] = mapped_column(JSON)
    item_ids: Mapped[list[str]] = mapped_column(JSON)
    language: Mapped[str]
    device: Mapped[str | None]
    posted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str]
    version_time_us: Mapped[int] = mapped_column(BigInteger)
    version_seq: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str]
    words: Mapped[int]
    profane_words: Mapped[int]
    decision_id: Mapped[str | None]
    label: Mapped[str | None]
    label_harm: Mapped[str | None]


_FORGOTTEN: Mapping[str, Any] = {
    "text": "",
    "media_ids": [],
    "links": [],
    "item_ids": [],
    "language": "und",
    "device": None,
}


def read(connection: Connection, post_ids: Sequence[str]) -> dict[str, StoredPost]:
    """Return those of the posts that are known, by id."""
    found: dict[str, StoredPost] = {}
    for some in chunks(post_ids):
        rows = connection.execute(select(PostRow.__table__).where(PostRow.post_id.in_(some)))
        found.update({row.post_id: _post(row) for row in rows})
    return found


def read_of_author(connection: Connection, author_id: str, limit: int | None) -> list[StoredPost]:
    """Return an author's posts, newest first."""
    statement = select(PostRow.__table__).where(PostRow.author_id == author_id).order_by(PostRow.posted_at.desc())
    return [_post(row) for row in connection.execute(statement.limit(limit))]


def write(connection: Connection, posts: Sequence[StoredPost]) -> None:
    """Write posts over what is there: the caller holds the lock and has compared versions."""
    if posts:
        connection.execute(_writing(connection.dialect.name), [_row(post) for post in posts])


def put_in_force(connection: Connection, decisions: Mapping[str, str]) -> None:
    """Point posts to the decisions in force, given as post id to decision id."""
    if decisions:
        statement = update(PostRow.__table__).where(PostRow.post_id == bindparam("post"))  # type: ignore[arg-type]
        rows = [{"post": post_id, "decision": decision_id} for post_id, decision_id in decisions.items()]
        connection.execute(statement.values(decision_id=bindparam("decision")), rows)


def put_label(connection: Connection, post_id: str, label: Action, harm: HarmClass | None) -> None:
    """Remember what a person said of a post."""
    connection.execute(update(PostRow).where(PostRow.post_id == post_id).values(label=label, label_harm=harm))


@cache  # to put the statement together takes longer than to write a post
def _writing(dialect: str) -> Any:
    insert = upsert(dialect, PostRow)
    columns = [column.name for column in PostRow.__table__.columns if column.name != "post_id"]
    return insert.on_conflict_do_update(
        index_elements=["post_id"], set_={name: insert.excluded[name] for name in columns}
    )


def _row(post: StoredPost) -> dict[str, Any]:
    row: dict[str, Any] = {
        "post_id": post.post_id,
        "author_id": post.author_id,
        "text": clean(post.text),
        "media_ids": list(post.media_ids),
        "links": [clean(link) for link in post.links],
        "item_ids": list(post.item_ids),
        "language": clean(post.language),
        "device": None if post.device is None else clean(post.device),
        "posted_at": post.posted_at,
        "state": post.state,
        "version_time_us": post.version.time_us,
        "version_seq": post.version.seq,
        "event_id": post.event_id,
        "words": post.words,
        "profane_words": post.profane_words,
        "decision_id": post.decision_id,
        "label": post.label,
        "label_harm": post.label_harm,
    }
    return {**row, **_FORGOTTEN} if post.state == "deleted" else row


def _post(row: Row[Any]) -> StoredPost:
    return StoredPost(
        post_id=row.post_id,
        author_id=row.author_id,
        posted_at=row.posted_at,
        version=Version(time_us=row.version_time_us, seq=row.version_seq),
        event_id=row.event_id,
        text=row.text,
        media_ids=tuple(row.media_ids),
        links=tuple(row.links),
        item_ids=tuple(row.item_ids),
        language=row.language,
        device=row.device,
        state=cast(PostState, row.state),
        words=row.words,
        profane_words=row.profane_words,
        decision_id=row.decision_id,
        label=cast(Action | None, row.label),
        label_harm=cast(HarmClass | None, row.label_harm),
    )

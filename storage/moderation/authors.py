"""Authors: what is counted of each, their profile, and their strikes (decisions that enforced and still stand)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

import msgspec
from sqlalchemy import BigInteger, Connection, and_, delete, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from core.entries import Version
from core.events import UserProfile
from core.moderation import AuthorFacts, HarmClass
from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Strike:
    """A post of an author whose decision in force enforces. `at` is when enforcing began."""

    post_id: str
    decision_id: str
    harm: HarmClass | None
    at: datetime


@dataclass(frozen=True)
class Author:
    """What is known of an author. `facts` is what models are told; `first_seen` is their first post here."""

    author_id: str
    facts: AuthorFacts
    strikes: tuple[Strike, ...] = ()
    first_seen: datetime | None = None
    joined_at: datetime | None = None
    language: str | None = None


@dataclass(frozen=True)
class ProfileChange:
    """A profile as an event gives it: all of it, a field left out is unknown. The newest version wins."""

    event_id: str
    version: Version
    profile: UserProfile


@dataclass
class Tally:
    """What a transaction adds to an author's counters."""

    posts: int = 0
    words: int = 0
    profane_words: int = 0
    reports: int = 0
    first_seen: datetime | None = None


@dataclass(frozen=True)
class Counts:
    """An author's counters. Counting stops at nothing: a deleted post was still posted."""

    posts: int = 0
    words: int = 0
    profane_words: int = 0
    reports: int = 0
    followers: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        """Return the difference; never below zero (an erased author who returns has lost what was counted)."""
        return Counts(
            posts=max(self.posts - other.posts, 0),
            words=max(self.words - other.words, 0),
            profane_words=max(self.profane_words - other.profane_words, 0),
            reports=max(self.reports - other.reports, 0),
            followers=max(self.followers - other.followers, 0),
        )


class AuthorRow(Base):
    __tablename__ = "authors"

    author_id: Mapped[str] = mapped_column(primary_key=True)
    posts: Mapped[int]
    words: Mapped[int] = mapped_column(BigInteger)
    profane_words: Mapped[int] = mapped_column(BigInteger)
    reports: Mapped[int]
    followers: Mapped[int]
    first_seen: Mapped[datetime | None] = mapped_column(UtcDateTime)
    joined_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    age_band: Mapped[str | None]
    gender: Mapped[str | None]
    city: Mapped[str | None]
    country: Mapped[str | None]
    language: Mapped[str | None]
    profile_time_us: Mapped[int | None] = mapped_column(BigInteger)
    profile_seq: Mapped[int | None] = mapped_column(BigInteger)


class StrikeRow(Base):
    __tablename__ = "strikes"

    post_id: Mapped[str] = mapped_column(primary_key=True)
    author_id: Mapped[str] = mapped_column(index=True)
    decision_id: Mapped[str]
    harm: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    impressions: Mapped[int | None] = mapped_column(BigInteger)  # that happened before `at`; see `exposure`


def read(connection: Connection, author_ids: Sequence[str], now: datetime) -> dict[str, Author]:
    """Return what is known of each author; of one never seen, counts of zero and nothing else."""
    return {
        author_id: _author(author_id, row, _counts(row), strikes, now)
        for author_id, (row, strikes) in _stored(connection, author_ids).items()
    }


def before(connection: Connection, posts: Mapping[str, tuple[str, Counts]], now: datetime) -> dict[str, Author]:
    """Return, by post, what is known of its author apart from that post: what a model may be told when it scores it.

    Args:
        posts: by post, its author and what it added to the author's counters.
    """
    stored = _stored(connection, [author_id for author_id, _ in posts.values()])
    found: dict[str, Author] = {}
    for post_id, (author_id, own) in posts.items():
        row, strikes = stored[author_id]
        others = tuple(strike for strike in strikes if strike.post_id != post_id)
        found[post_id] = _author(author_id, row, _counts(row) - own, others, now)
    return found


def count(connection: Connection, tallies: Mapping[str, Tally]) -> None:
    """Add to the counters of authors; those who are new are added."""
    rows = [
        {
            **dict.fromkeys(column.name for column in AuthorRow.__table__.columns),
            "author_id": author_id,
            "posts": tally.posts,
            "words": tally.words,
            "profane_words": tally.profane_words,
            "reports": tally.reports,
            "followers": 0,
            "first_seen": tally.first_seen,
        }
        for author_id, tally in sorted(tallies.items())
    ]
    if not rows:
        return
    connection.execute(_counting(connection.dialect.name), rows)


@cache  # to put the statement together takes longer than to run it
def _counting(dialect: str) -> Any:
    insert = upsert(dialect, AuthorRow)
    new = insert.excluded
    counters = {name: getattr(AuthorRow, name) + new[name] for name in ("posts", "words", "profane_words", "reports")}
    earlier = func.min if dialect == "sqlite" else func.least
    first = earlier(
        func.coalesce(AuthorRow.first_seen, new.first_seen), func.coalesce(new.first_seen, AuthorRow.first_seen)
    )
    return insert.on_conflict_do_update(index_elements=["author_id"], set_={**counters, "first_seen": first})


def count_reports(connection: Connection, reports: Mapping[str, int]) -> None:
    """Add reports received to authors who are known (an erased one's pseudonym is not)."""
    for author_id, number in sorted(reports.items()):
        connection.execute(
            update(AuthorRow).where(AuthorRow.author_id == author_id).values(reports=AuthorRow.reports + number)
        )


def count_followers(connection: Connection, followers: Mapping[str, int]) -> None:
    """Add followers to authors; those who are new are added."""
    if followers:
        insert = upsert(connection.dialect.name, AuthorRow)
        statement = insert.on_conflict_do_update(
            index_elements=["author_id"], set_={"followers": AuthorRow.followers + insert.excluded.followers}
        )
        connection.execute(
            statement, [{**_EMPTY, "author_id": one, "followers": n} for one, n in sorted(followers.items())]
        )


def write_profiles(connection: Connection, changes: Sequence[ProfileChange]) -> None:
    """Write profiles where they are newer than what is there."""
    rows = [
        {
            **_EMPTY,
            "author_id": change.profile.user_id,
            "joined_at": change.profile.joined_at,
            **{
                name: _clean(getattr(change.profile, name))
                for name in ("age_band", "gender", "city", "country", "language")
            },
            "profile_time_us": change.version.time_us,
            "profile_seq": change.version.seq,
        }
        for change in sorted(changes, key=lambda change: change.profile.user_id)
    ]
    if not rows:
        return
    insert = upsert(connection.dialect.name, AuthorRow)
    new = insert.excluded
    names = ("joined_at", "age_band", "gender", "city", "country", "language", "profile_time_us", "profile_seq")
    newer = or_(
        AuthorRow.profile_time_us.is_(None),
        new.profile_time_us > AuthorRow.profile_time_us,
        and_(new.profile_time_us == AuthorRow.profile_time_us, new.profile_seq > AuthorRow.profile_seq),
    )
    statement = insert.on_conflict_do_update(
        index_elements=["author_id"], set_={name: new[name] for name in names}, where=newer
    )
    connection.execute(statement, rows)


def strike(connection: Connection, strikes: Sequence[tuple[str, Strike]]) -> None:
    """Put strikes, given with their authors. A post that has one keeps when it began."""
    if strikes:
        insert = upsert(connection.dialect.name, StrikeRow)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=["post_id"], set_={"decision_id": new.decision_id, "harm": new.harm}
        )
        rows = [
            {
                "post_id": one.post_id,
                "author_id": author_id,
                "decision_id": one.decision_id,
                "harm": one.harm,
                "at": one.at,
            }
            for author_id, one in strikes
        ]
        connection.execute(statement, rows)


def unstrike(connection: Connection, post_ids: Sequence[str]) -> None:
    """Take the strikes of posts away."""
    for some in chunks(post_ids):
        connection.execute(delete(StrikeRow).where(StrikeRow.post_id.in_(some)))


def is_known(connection: Connection, author_id: str) -> bool:
    """Tell whether anything is kept of somebody."""
    return connection.scalar(select(AuthorRow.author_id).where(AuthorRow.author_id == author_id)) is not None


def erase(connection: Connection, author_id: str, pseudonym: str) -> None:
    """Forget an author's profile and counters; strikes stay, under the pseudonym."""
    connection.execute(delete(AuthorRow).where(AuthorRow.author_id == author_id))
    connection.execute(update(StrikeRow).where(StrikeRow.author_id == author_id).values(author_id=pseudonym))


_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(column.name for column in AuthorRow.__table__.columns),
    **dict.fromkeys(("posts", "words", "profane_words", "reports", "followers"), 0),
}


def _clean(value: str | None) -> str | None:
    return None if value is None else clean(value)


def _stored(connection: Connection, author_ids: Sequence[str]) -> dict[str, tuple[Any, tuple[Strike, ...]]]:
    rows: dict[str, Any] = {}
    strikes: dict[str, list[Strike]] = {author_id: [] for author_id in author_ids}
    for some in chunks(list(strikes)):
        for row in connection.execute(select(AuthorRow.__table__).where(AuthorRow.author_id.in_(some))):
            rows[row.author_id] = row
        statement = select(StrikeRow.__table__).where(StrikeRow.author_id.in_(some))
        for row in connection.execute(statement.order_by(StrikeRow.at, StrikeRow.post_id)):
            harm = cast(HarmClass | None, row.harm)
            strikes[row.author_id].append(Strike(row.post_id, row.decision_id, harm, row.at))
    return {author_id: (rows.get(author_id), tuple(found)) for author_id, found in strikes.items()}


def _counts(row: Any) -> Counts:
    return Counts(row.posts, row.words, row.profane_words, row.reports, row.followers) if row else Counts()


def _author(author_id: str, row: Any, counts: Counts, strikes: tuple[Strike, ...], now: datetime) -> Author:
    facts = AuthorFacts(
        violations=len(strikes),
        reports_received=counts.reports,
        profane_rate=counts.profane_words / counts.words if counts.words > 0 else None,
        posts=counts.posts,
        followers=counts.followers,
    )
    if row is None:
        return Author(author_id, facts, strikes)
    age = None
    if row.joined_at is not None:
        joined = min(row.joined_at, row.first_seen or row.joined_at)
        age = max((now - joined).total_seconds() / _DAY_S, 0.0)
    facts = msgspec.structs.replace(
        facts, account_age_days=age, age_band=row.age_band, gender=row.gender, city=row.city, country=row.country
    )
    return Author(author_id, facts, strikes, row.first_seen, row.joined_at, row.language)

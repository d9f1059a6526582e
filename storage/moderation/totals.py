"""Totals: what the catalogue holds of authors and posts now, as the records that features are made of."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from core.clock import Clock
from core.moderation_totals import STRIKES_KEPT, UNNAMED, AuthorTotals, PostTotals, Totals, whole_us
from storage.catalogue.base import chunks
from storage.catalogue.database import Database
from storage.moderation.authors import AuthorRow, StrikeRow
from storage.moderation.posts import PostRow
from storage.moderation.reactions import ReactionRow
from storage.moderation.reports import ReportRow


class TotalsReader:
    """Reads totals from the catalogue. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def read(self, author_ids: Sequence[str], post_ids: Sequence[str]) -> list[Totals]:
        """Return the totals of authors and posts, and of those posts' authors; zeros for somebody unknown.

        They are as of a moment just before they are read: what was committed before it is in them. A post that was
        erased, or never arrived, has no author.

        Raises Unavailable.
        """
        as_of_us = whole_us(self._clock.now())
        with self._database.reading() as connection:
            posts = _posts(connection, list(dict.fromkeys(post_ids)), as_of_us)
            authors = dict.fromkeys([*author_ids, *(post.author_id for post in posts if post.author_id)])
            return [*_authors(connection, list(authors), as_of_us), *posts]


def _authors(connection: Connection, author_ids: Sequence[str], as_of_us: int) -> list[AuthorTotals]:
    rows: dict[str, Any] = {}
    strikes: dict[str, list[int]] = {}
    for some in chunks(author_ids):
        for row in connection.execute(select(AuthorRow.__table__).where(AuthorRow.author_id.in_(some))):
            rows[row.author_id] = row
        statement = select(StrikeRow.author_id, StrikeRow.at).where(StrikeRow.author_id.in_(some))
        for author_id, at in connection.execute(statement.order_by(StrikeRow.at.desc())):
            strikes.setdefault(author_id, []).append(whole_us(at))
    found: list[AuthorTotals] = []
    for author_id in author_ids:
        struck = strikes.get(author_id, [])
        counted = rows.get(author_id)
        known = AuthorTotals(
            author_id=author_id, as_of_us=as_of_us, violations=len(struck), strikes_us=struck[:STRIKES_KEPT]
        )
        if counted is not None:
            since = (
                None if counted.joined_at is None else min(counted.joined_at, counted.first_seen or counted.joined_at)
            )
            known = AuthorTotals(
                author_id=author_id,
                as_of_us=as_of_us,
                posts=counted.posts,
                words=counted.words,
                profane_words=counted.profane_words,
                reports=counted.reports,
                followers=counted.followers,
                since_us=0 if since is None else whole_us(since),
                violations=known.violations,
                strikes_us=known.strikes_us,
            )
        found.append(known)
    return found


def _posts(connection: Connection, post_ids: Sequence[str], as_of_us: int) -> list[PostTotals]:
    posts: dict[str, Any] = {}
    reactions: dict[str, Any] = {}
    strikes: dict[str, int] = {}
    reports: dict[str, dict[str, int]] = {}
    for some in chunks(post_ids):
        columns = (PostRow.post_id, PostRow.author_id, PostRow.words, PostRow.profane_words, PostRow.decision_id)
        for row in connection.execute(select(*columns).where(PostRow.post_id.in_(some))):
            posts[row.post_id] = row
        for row in connection.execute(select(ReactionRow.__table__).where(ReactionRow.post_id.in_(some))):
            reactions[row.post_id] = row
        for post_id, at in connection.execute(
            select(StrikeRow.post_id, StrikeRow.at).where(StrikeRow.post_id.in_(some))
        ):
            strikes[post_id] = whole_us(at)
        counted = select(ReportRow.post_id, ReportRow.harm, func.count()).where(ReportRow.post_id.in_(some))
        for post_id, harm, number in connection.execute(counted.group_by(ReportRow.post_id, ReportRow.harm)):
            reports.setdefault(post_id, {})[harm or UNNAMED] = number
    found: list[PostTotals] = []
    for post_id in post_ids:
        post, told = posts.get(post_id), reactions.get(post_id)
        found.append(
            PostTotals(
                post_id=post_id,
                author_id=post.author_id if post is not None else "",
                as_of_us=as_of_us,
                impressions=told.impressions if told is not None else 0,
                likes=told.likes if told is not None else 0,
                shares=told.shares if told is not None else 0,
                comments=told.comments if told is not None else 0,
                reports=reports.get(post_id, {}),
                posts=int(post is not None and bool(post.author_id)),
                words=post.words if post is not None else 0,
                profane_words=post.profane_words if post is not None else 0,
                struck_us=strikes.get(post_id, 0),
                decision_id=(post.decision_id or "") if post is not None else "",
            )
        )
    return found

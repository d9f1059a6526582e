"""Exposure: how many impressions a post had before it was taken down.

Impressions reach the store after they happen, some after the decision: those that happened before it are added then.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from storage.catalogue.base import chunks
from storage.moderation.authors import StrikeRow
from storage.moderation.reactions import ReactionDelta, ReactionRow


def note(connection: Connection, post_ids: Sequence[str]) -> None:
    """Note, for posts that were just taken down, the impressions counted so far; one that was down keeps its number."""
    so_far = (
        select(ReactionRow.impressions)
        .where(ReactionRow.post_id == StrikeRow.post_id)
        .correlate(StrikeRow)
        .scalar_subquery()
    )
    for some in chunks(post_ids):
        statement = update(StrikeRow).where(StrikeRow.post_id.in_(some), StrikeRow.impressions.is_(None))
        connection.execute(statement.values(impressions=func.coalesce(so_far, 0)))


def add_late(connection: Connection, counted: Sequence[ReactionDelta]) -> None:
    """Add the impressions of posts that are down by now, if they happened before."""
    seen = [(delta.post_id, delta.at, delta.impressions) for delta in counted if delta.impressions and delta.at]
    since: dict[str, datetime] = {}
    for some in chunks(sorted({post_id for post_id, _, _ in seen})):
        rows = connection.execute(select(StrikeRow.post_id, StrikeRow.at).where(StrikeRow.post_id.in_(some)))
        since.update({row.post_id: row.at for row in rows})
    late: Counter[str] = Counter()
    for post_id, at, number in seen:
        if post_id in since and at < since[post_id]:
            late[post_id] += number
    for post_id, number in sorted(late.items()):
        statement = update(StrikeRow).where(StrikeRow.post_id == post_id)
        connection.execute(statement.values(impressions=func.coalesce(StrikeRow.impressions, 0) + number))

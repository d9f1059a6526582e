"""Tells `moderation.features.v1` what was counted of authors and posts, after every change of it.

The catalogue counts; this reads what it holds now and publishes that, so that telling twice, or late, does no harm: the
newest totals of an author or a post are the ones that count.
"""

import asyncio
from collections.abc import Iterable

from core import topics
from core.moderation_totals import encode_totals, totals_key
from core.ports import OutgoingRecord, Publisher
from storage.moderation.totals import TotalsReader


class FeatureFeed:
    """The feed of a process. Its calls may overlap."""

    def __init__(self, totals: TotalsReader, publisher: Publisher) -> None:
        self._totals = totals
        self._publisher = publisher

    async def changed(self, *, authors: Iterable[str] = (), posts: Iterable[str] = (), timeout_s: float = 10.0) -> None:
        """Publish the totals of authors, and of posts with their authors. Raises Unavailable."""
        found = await asyncio.to_thread(self._totals.read, list(authors), list(posts))
        if found:
            await self._publisher.publish(
                [OutgoingRecord(topics.FEATURES.name, totals_key(one), encode_totals(one)) for one in found],
                timeout_s=timeout_s,
            )

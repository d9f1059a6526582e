"""Tells `moderation.features.v1` what was counted of authors and posts, after every change of it.

The catalogue counts; this reads what it holds now and publishes that, so that telling twice, or late, does no harm: the
newest totals of an author or a post are the ones that count.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from core import topics
from core.moderation_totals import encode_totals, totals_key
from core.ports import OutgoingRecord, Publisher
from storage.moderation.totals import TotalsReader


@dataclass
class _Round:
    """What is told together."""

    authors: dict[str, None] = field(default_factory=dict)
    posts: dict[str, None] = field(default_factory=dict)
    done: bool = False


class FeatureFeed:
    """The feed of a process. Calls that overlap are told together: one reads and publishes for all that wait."""

    def __init__(self, totals: TotalsReader, publisher: Publisher) -> None:
        self._totals = totals
        self._publisher = publisher
        self._next = _Round()
        self._telling = asyncio.Lock()

    async def changed(self, *, authors: Iterable[str] = (), posts: Iterable[str] = (), timeout_s: float = 10.0) -> None:
        """Publish the totals of authors, and of posts with their authors. Raises Unavailable."""
        mine = self._next
        mine.authors |= dict.fromkeys(authors)
        mine.posts |= dict.fromkeys(posts)
        async with self._telling:
            if mine.done:
                return
            if mine is self._next:
                self._next = _Round()
            await self._tell(list(mine.authors), list(mine.posts), timeout_s)
            mine.done = True  # where it failed, each who waits tries for itself and is told

    async def _tell(self, authors: list[str], posts: list[str], timeout_s: float) -> None:
        found = await asyncio.to_thread(self._totals.read, authors, posts)
        if found:
            await self._publisher.publish(
                [OutgoingRecord(topics.FEATURES.name, totals_key(one), encode_totals(one)) for one in found],
                timeout_s=timeout_s,
            )

"""author-profiles: what users tell of themselves, for moderation; and forgetting those who ask for it."""

import asyncio
from collections.abc import Sequence

import faust
from faust.types import AgentT

from core import topics
from core.entries import Version
from core.errors import ConfigurationError
from core.events import UserChanged, UserErased
from storage.moderation import ModerationStore, ProfileChange
from streams.agent import agent
from streams.decoding import Delivered
from streams.dependencies import StreamDeps
from streams.envelope import Rejected
from streams.moderation.feed import FeatureFeed

NAME = "author-profiles"
_BATCH, _WITHIN_S = 500, 0.1


class AuthorProfiles:
    """The handler. The newest profile of a user counts; an erasure is applied before anything newer."""

    def __init__(self, store: ModerationStore, feed: FeatureFeed | None = None) -> None:
        """`feed` is told who is known otherwise now."""
        self._store = store
        self._feed = feed

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        changes = [
            ProfileChange(one.event.id, Version.of(one.event.time, one.record.offset), one.event.data)
            for one in batch
            if isinstance(one.event, UserChanged)
        ]
        erased = {one.event.data.user_id: one for one in batch if isinstance(one.event, UserErased)}
        kept = [
            change
            for change in changes
            if (end := erased.get(change.profile.user_id)) is None
            or change.version > Version.of(end.event.time, end.record.offset)
        ]
        for user_id, one in erased.items():
            await asyncio.to_thread(self._store.erase_user, user_id, consumer=NAME, event_ids=[one.event.id])
        await asyncio.to_thread(self._store.apply_profiles, NAME, kept, [one.event.id for one in batch])
        if self._feed is not None:
            await self._feed.changed(authors=sorted({*erased, *(change.profile.user_id for change in kept)}))
        return []


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.moderation is None or deps.catalogue is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue")
    return agent(
        app,
        deps,
        topic=topics.USERS.name,
        stream="users",
        name=NAME,
        handle=AuthorProfiles(deps.moderation.store, deps.feed),
        batch_size=_BATCH,
        within_s=_WITHIN_S,
        inbox=deps.catalogue,
    )

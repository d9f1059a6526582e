"""moderate-uploads: uploads are judged like posts, also those that nobody posts.

    `index.entries.v1` -> the upload as a post: title, description and tags; its media; `item_ids` is the upload -> the
    path of every post: facts, scores, policy, one transaction, verdict

What is in the index can be found, so the index's entries say what is to be judged: they hold uploads whole, and those
that were there before this agent, too. Posts come first: an upload waits while any is being decided. What nobody but
its owner can see (private, hidden) is not looked at until it is shown.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.entries import VERSION_HEADER, IndexEntry, Version, decode_entry
from core.errors import ConfigurationError, InvalidEvent, InvalidInput, Unavailable
from core.ids import derived_id, upload_post_id
from core.ports import StoredRecord
from core.settings import StreamSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.moderation import ModerationStore, StoredPost
from streams.agent import record_agent
from streams.dependencies import StreamDeps
from streams.envelope import Backoff
from streams.moderation.judges import Asked, PostJudges
from streams.moderation.uploads import apart_from, as_post

NAME = "moderate-uploads"
_BATCH, _WITHIN_S = 200, 0.2
_TOGETHER = 4  # uploads judged at once: few, so that a post that comes meanwhile waits little
_YIELD_S = 2.0  # longest wait for a moment without posts, before each of them
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger("streams.moderate_uploads")

#: What the newest record about an item says: the entry, or the version that removed it.
_State = IndexEntry | Version


class UploadModerator:
    """The processor. Of the records about one upload only the newest counts; the same again changes nothing."""

    def __init__(
        self, store: ModerationStore, judges: PostJudges, recorder: Recorder, settings: StreamSettings
    ) -> None:
        self.waiting_for = ""
        self._store = store
        self._judges = judges
        self._recorder = recorder
        self._settings = settings

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        """Judge a batch; a catalogue that does not answer is waited for. Raises Abandoned."""
        newest = list(_newest(records).items())
        backoff = Backoff(self._settings.backoff_s)
        for first in range(0, len(newest), _TOGETHER):
            some = dict(newest[first : first + _TOGETHER])
            while True:
                try:
                    await self._judge(some)
                    break
                except Unavailable as error:
                    self.waiting_for = f"{NAME}: {error}"
                    await backoff.pause(owned, error.retry_after_s)
            self.waiting_for = ""
        self._recorder.count(metrics.EVENTS, len(records), agent=NAME, outcome="applied")

    async def _judge(self, some: dict[str, _State]) -> None:
        stored = await asyncio.to_thread(self._store.posts, [upload_post_id(item_id) for item_id in some])
        asked: list[Asked] = []
        for item_id, state in some.items():
            before = stored.get(upload_post_id(item_id))
            if isinstance(state, Version):
                await self._end(before, state)
            elif (post := await self._to_judge(state, before)) is not None:
                asked.append(Asked(post, post.event_id, post.posted_at, True, state.traceparent, timed=False))
        if asked:
            await self._judges.quiet(_YIELD_S)
            await self._decide(asked)

    async def _decide(self, asked: Sequence[Asked]) -> None:
        try:
            await self._judges.decide(NAME, asked, [])
        except InvalidInput:  # one that can never be recorded must not keep the others
            for one in asked:
                try:
                    await self._judges.decide(NAME, [one], [])
                except InvalidInput as error:
                    _log.error("upload_not_judged", post_id=one.post.post_id, error=str(error))

    async def _to_judge(self, entry: IndexEntry, before: StoredPost | None) -> StoredPost | None:
        """Return the post that an upload is; None where there is nothing new to judge about it."""
        if entry.state != "active" or entry.visibility == "private":
            return None
        post = as_post(entry, _EPOCH + timedelta(microseconds=entry.version.time_us))
        if before is not None and (before.version >= post.version or _same(before, post)):
            return None
        written = await asyncio.to_thread(self._store.posts_of, entry.owner_id, 1_000)
        return apart_from(post, written)

    async def _end(self, before: StoredPost | None, version: Version) -> None:
        """Delete an upload as its owner deletes a post: what restricts it stays in force."""
        if before is None or before.state == "deleted" or version <= before.version:
            return
        end = StoredPost(
            post_id=before.post_id,
            author_id=before.author_id,
            posted_at=before.posted_at,
            version=version,
            event_id=derived_id(before.post_id, f"removed:{version.header().decode()}"),
            state="deleted",
        )
        await asyncio.to_thread(self._store.record, NAME, [], posts=[end])


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.moderation is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue and the moderator")
    parts = deps.moderation
    return record_agent(
        app,
        deps,
        topics=[topics.INDEX_ENTRIES.name],
        name=NAME,
        processor=UploadModerator(parts.store, parts.judges, deps.recorder, deps.settings.streams),
        batch_size=_BATCH,
        within_s=_WITHIN_S,
    )


def _newest(records: Sequence[StoredRecord]) -> dict[str, _State]:
    """Return what the newest record about each item says; one that cannot be read is left out."""
    found: dict[str, _State] = {}
    for record in records:
        try:
            state: _State = (
                Version.from_header(record.headers.get(VERSION_HEADER, b""))
                if record.value is None
                else decode_entry(record.value)
            )
        except InvalidEvent as error:
            _log.error("index_entry_not_read", offset=record.offset, error=str(error))
            continue
        before = found.get(record.key)
        if before is None or _version(state) > _version(before):
            found[record.key] = state
    return found


def _version(state: _State) -> Version:
    return state if isinstance(state, Version) else state.version


def _same(before: StoredPost, post: StoredPost) -> bool:
    """Tell whether an upload shows what it showed when it was judged."""
    return (before.state, before.text, before.media_ids) == ("active", post.text, post.media_ids)

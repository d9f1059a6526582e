"""moderate-posts: from posts to decisions about them.

    events -> newest state per post -> facts -> scores (Ray Serve) -> policy -> catalogue: post, decision, review job,
    audit entry and outbox in one transaction -> `moderation.decisions.v1`, `moderation.verdicts.v1`

A post is never let through because something failed: without scores it is reviewed by a person, and judged again when
the moderator answers (`post-reactions` sees to that).
"""

import asyncio
from collections.abc import Sequence

import faust
from faust.types import AgentT

from core import topics
from core.entries import Version
from core.errors import ConfigurationError
from core.events import Post, PostDeleted, event_key
from core.ids import upload_post_id
from storage.moderation import ModerationStore, StoredPost
from streams.agent import agent
from streams.decoding import Delivered
from streams.dependencies import StreamDeps
from streams.envelope import Rejected
from streams.moderation.judges import Asked, PostJudges
from streams.moderation.uploads import taken_over

NAME = "moderate-posts"
_TEXTS, _PICTURES = 32, 8  # posts of one call of the moderator and one transaction, without and with pictures


class PostModerator:
    """The handler. Of the events about one post only the newest counts, whatever order they arrive in."""

    def __init__(self, store: ModerationStore, judges: PostJudges) -> None:
        self._store = store
        self._judges = judges

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        newest: dict[str, Delivered] = {}
        for one in batch:
            before = newest.get(event_key(one.event))
            if before is None or _version(one) > _version(before):
                newest[event_key(one.event)] = one
        stored = await asyncio.to_thread(self._store.posts, list(newest))
        fresh = [
            one for post_id, one in newest.items() if post_id not in stored or _version(one) > stored[post_id].version
        ]
        deleted = [one for one in fresh if isinstance(one.event, PostDeleted)]
        if deleted:  # at once: they wait for no model
            ends = [_end(one, stored.get(event_key(one.event))) for one in deleted]
            ids = [one.event.id for one in deleted]
            await asyncio.to_thread(self._store.record, NAME, ids, posts=ends)
        asked = [
            Asked(_written(one), one.event.id, one.event.time, is_new=True, traceparent=one.event.traceparent)
            for one in fresh
            if not isinstance(one.event, PostDeleted)
        ]
        await asyncio.to_thread(self._take_over, [one.post for one in asked])
        await self._decide(asked, batch)
        return []

    def _take_over(self, written: Sequence[StoredPost]) -> None:
        """End uploads that were judged by themselves and are shown by a post now: nothing is reviewed twice."""
        named = {upload_post_id(item_id): post for post in written for item_id in post.item_ids}
        uploads = self._store.posts(list(named)) if named else {}
        if not uploads:
            return
        in_force = self._store.in_force(list(uploads))
        ends = [taken_over(named[upload_id], upload, in_force.get(upload_id)) for upload_id, upload in uploads.items()]
        if any(ends):
            self._store.record(NAME, [], posts=[end for end in ends if end is not None])

    async def _decide(self, asked: Sequence[Asked], batch: Sequence[Delivered]) -> None:
        """Decide posts together, but those with pictures apart from those without, which need not wait for them.

        Raises what the first call that failed raised, when all have ended: what was recorded is not done again.
        """
        pictures = [one for one in asked if one.post.media_ids]
        texts = [one for one in asked if not one.post.media_ids]
        calls = [*_cut(texts, _TEXTS), *_cut(pictures, _PICTURES)] or [[]]
        about = {one.post.post_id: place for place, call in enumerate(calls) for one in call}
        events = [list[str]() for _ in calls]
        for one in batch:
            events[about.get(event_key(one.event), 0)].append(one.event.id)
        ended = await asyncio.gather(
            *(self._judges.decide(NAME, call, ids) for call, ids in zip(calls, events, strict=True)),
            return_exceptions=True,
        )
        for end in ended:
            if isinstance(end, BaseException):
                raise end


def _cut(asked: Sequence[Asked], most: int) -> list[Sequence[Asked]]:
    return [asked[start : start + most] for start in range(0, len(asked), most)]


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.moderation is None or deps.catalogue is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue and the moderator")
    settings = deps.settings.moderation
    return agent(
        app,
        deps,
        topic=topics.POSTS.name,
        stream="posts",
        name=NAME,
        handle=PostModerator(deps.moderation.store, deps.moderation.judges),
        batch_size=settings.batch_size,
        within_s=settings.within_s,
        at_once=settings.batches_at_once,
        inbox=deps.catalogue,
    )


def _written(one: Delivered) -> StoredPost:
    """Return the post as an event tells it. A change is the whole post as it is now."""
    data: Post = one.event.data  # type: ignore[assignment]  # deletions are dealt with
    return StoredPost(
        post_id=data.post_id,
        author_id=data.author_id,
        posted_at=one.event.time,
        version=_version(one),
        event_id=one.event.id,
        text=data.text,
        media_ids=tuple(dict.fromkeys(data.media_ids)),
        links=tuple(data.links),
        item_ids=tuple(dict.fromkeys(data.item_ids)),
        language=data.language,
        device=data.device,
    )


def _end(one: Delivered, before: StoredPost | None) -> StoredPost:
    return StoredPost(
        post_id=event_key(one.event),
        author_id=before.author_id if before is not None else "",
        posted_at=before.posted_at if before is not None else one.event.time,
        version=_version(one),
        event_id=one.event.id,
        state="deleted",
    )


def _version(one: Delivered) -> Version:
    return Version.of(one.event.time, one.record.offset)

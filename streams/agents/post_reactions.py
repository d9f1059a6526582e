"""post-reactions: what others do with posts, counted once each; and posts judged again because of it.

Reports are kept whatever they are about: the post may come after them. Other reactions count for posts that are known.
Reactions to anything else are other agents' business, as are events that are not valid. Reports of an upload are about
the post that it is judged as; how often uploads are shown or liked is not counted here.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.clock import Clock
from core.errors import ConfigurationError, Unavailable
from core.events import Comment, Follow, Impression, InteractionEvent, Like, Report, Share
from core.ids import derived_id, upload_post_id
from core.moderation import HARM_CLASSES, HarmClass, PostScores, ScoreFailure
from core.ports import StoredRecord
from core.settings import ModerationSettings, StreamSettings
from models.moderation.judging import Judgement
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.moderation import ModerationStore, ReactionDelta, StoredPost
from storage.moderation import Report as PostReport
from streams.agent import record_agent
from streams.decoding import valid_events
from streams.dependencies import StreamDeps
from streams.envelope import Backoff
from streams.moderation.feed import FeatureFeed
from streams.moderation.judges import Asked, PostJudges
from streams.moderation.keeping_measures import MeasureKeeper
from streams.moderation.rescoring import Rescoring, Waiting

NAME = "post-reactions"
_BATCH, _WITHIN_S = 5_000, 0.1
_KNOWN = 200_000  # ids of posts and of what is none
_UNKNOWN_FOR_S = 10.0  # how long an id that was no post is not asked about again
_LOOK_FOR_FAILED_S = 10.0
_FAILED_AT_ONCE = 200  # reviews looked at
_TOGETHER = 8  # of their posts judged at once: those that are just written wait for no more
_YIELD_S = 1.0  # longest wait for a moment in which nothing else is decided, before each of them
_AGAIN_S, _LONGEST_S = 30.0, 300.0  # what cannot be scored is tried again so much later, and later each time
_MOST_LEFT = 10_000  # posts remembered that are left alone
_COUNTED: dict[type, str] = {Impression: "impressions", Like: "likes", Share: "shares", Comment: "comments"}
_NEEDED = (b".impression", b".like", b".share", b".comment", b".report", b".follow")

_log = structlog.get_logger("streams.post_reactions")


class PostReactions:
    """The processor. What it applied before adds nothing: the store knows event ids."""

    def __init__(
        self,
        store: ModerationStore,
        rescoring: Rescoring,
        recorder: Recorder,
        settings: StreamSettings,
        *,
        impression_sample: float = 0.0,
        feed: FeatureFeed | None = None,
    ) -> None:
        """`impression_sample`: the share of impressions whose posts people review, to measure prevalence.

        `feed` is told what is counted of posts and of who is followed.
        """
        self.waiting_for = ""
        self._store = store
        self._rescoring = rescoring
        self._recorder = recorder
        self._settings = settings
        self._sample = impression_sample
        self._feed = feed
        self._posts: OrderedDict[str, float] = OrderedDict()  # id -> until when it is no post; inf: it is one

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        """Apply a batch; a catalogue that does not answer is waited for. Raises Abandoned."""
        events = [event for record in records for event in _events(record)]
        backoff = Backoff(self._settings.backoff_s)
        while events:
            try:
                await self._apply(events)
                break
            except Unavailable as error:
                self.waiting_for = f"{NAME}: {error}"
                await backoff.pause(owned, error.retry_after_s)
        self.waiting_for = ""

    async def _apply(self, events: Sequence[InteractionEvent]) -> None:
        about: dict[str, str] = {}
        reports = [event for event in events if isinstance(event, Report)]
        if reports:
            about = await asyncio.to_thread(self._uploads_among, {str(event.data.item_id) for event in reports})
            kept = await asyncio.to_thread(
                self._store.add_reports,
                [_report(event, about.get(str(event.data.item_id))) for event in reports],
                consumer=NAME,
                event_ids=[event.id for event in reports],
            )
            for report in kept:
                self._rescoring.add(report.post_id, {"reports": 1}, report.event_id, report.reported_at)
        follows = {event.id: (str(event.data.item_id), 1) for event in events if isinstance(event, Follow)}
        counted = [event for event in events if type(event) in _COUNTED]
        posts = await self._posts_among({str(event.data.item_id) for event in counted})
        counted = [event for event in counted if event.data.item_id in posts]
        if counted or follows:
            deltas = [_delta(event) for event in counted]
            drawn = {event.id: self._sample for event in counted if self._draws(event)}
            await asyncio.to_thread(self._store.add_reactions, NAME, deltas, followers=follows, drawn=drawn)
            for event in counted:
                name = _COUNTED[type(event)]
                self._rescoring.add(str(event.data.item_id), {name: 1}, event.id, event.time)
            if drawn:
                shown = {str(event.data.item_id): self._sample for event in counted if event.id in drawn}
                await asyncio.to_thread(self._store.open_samples, shown)
        if self._feed is not None:  # also of what was counted before: it may not have been told
            touched = {str(event.data.item_id) for event in counted}
            touched |= {about.get(str(event.data.item_id), str(event.data.item_id)) for event in reports}
            await self._feed.changed(authors=sorted({author for author, _ in follows.values()}), posts=sorted(touched))
        self._recorder.count(metrics.EVENTS, len(reports) + len(follows) + len(counted), agent=NAME, outcome="applied")
        self._recorder.set(metrics.MODERATION_WAITING, len(self._rescoring))

    def _draws(self, event: InteractionEvent) -> bool:
        return isinstance(event, Impression) and is_drawn(event.id, self._sample)

    def _uploads_among(self, ids: set[str]) -> dict[str, str]:
        """Return, by id, the posts that those are judged as that are no posts but uploads."""
        judged_as = {upload_post_id(one): one for one in ids}
        found = self._store.posts([*ids, *judged_as])
        return {item_id: post_id for post_id, item_id in judged_as.items() if post_id in found and item_id not in found}

    async def _posts_among(self, ids: set[str]) -> set[str]:
        now = time.monotonic()
        unsure = [one for one in ids if self._posts.get(one, 0.0) < now]
        if unsure:
            found = await asyncio.to_thread(self._store.posts, unsure)
            for one in unsure:
                self._posts[one] = float("inf") if one in found else now + _UNKNOWN_FOR_S
                self._posts.move_to_end(one)
            while len(self._posts) > _KNOWN:
                self._posts.popitem(last=False)
        return {one for one in ids if self._posts.get(one) == float("inf")}


@dataclass(frozen=True)
class _Pause:
    until: float  # by the monotonic clock
    length_s: float


class Rescorer:
    """Judges posts again, in the background: what was reacted to, `rescore_per_s` a second, and what failed."""

    def __init__(
        self,
        store: ModerationStore,
        judges: PostJudges,
        rescoring: Rescoring,
        recorder: Recorder,
        clock: Clock,
        settings: ModerationSettings,
    ) -> None:
        self._store = store
        self._judges = judges
        self._rescoring = rescoring
        self._recorder = recorder
        self._clock = clock
        self._settings = settings
        self._left: OrderedDict[str, _Pause] = OrderedDict()  # by post, of those that were tried

    async def run(self) -> None:
        """Judge until cancelled."""
        await asyncio.gather(self._keep_up_with_reactions(), self._keep_catching_up())

    async def _keep_up_with_reactions(self) -> None:
        per_s = self._settings.rescore_per_s
        if per_s <= 0:
            return
        while True:
            began = time.monotonic()
            try:
                await self.judge_some(max(1, round(per_s)))
            except Unavailable as error:
                _log.warning("posts_not_judged_again", error=str(error))
            await asyncio.sleep(max(0.0, max(1.0, 1.0 / per_s) - (time.monotonic() - began)))

    async def _keep_catching_up(self) -> None:
        while True:
            try:
                await self.catch_up()
            except Unavailable as error:
                _log.warning("failed_posts_not_judged_again", error=str(error))
            await asyncio.sleep(_LOOK_FOR_FAILED_S)

    async def catch_up(self) -> None:
        """Judge posts again whose review is open only because something failed, until none is left or it fails again.

        An hour without the moderator leaves tens of thousands: they are judged as fast as there is room for.
        """
        while waiting := await asyncio.to_thread(self._failed):
            for start in range(0, len(waiting), _TOGETHER):
                await self._judges.quiet(_YIELD_S)
                some = {one.post_id: one for one in waiting[start : start + _TOGETHER]}
                judgements = await self._judge(some)
                if any(isinstance(one.scores, ScoreFailure) and one.scores.transient for one in judgements):
                    return  # it is away still
                for post_id in some:
                    self._leave_alone(post_id)

    def _leave_alone(self, post_id: str) -> None:
        """Note that a post was tried: should its review be open still, it is not tried again at once."""
        now, length_s = time.monotonic(), _AGAIN_S
        before = self._left.pop(post_id, None)
        if before is not None and now <= before.until + _LONGEST_S:
            length_s = min(2 * before.length_s, _LONGEST_S)
        self._left[post_id] = _Pause(now + length_s, length_s)
        while len(self._left) > _MOST_LEFT:
            self._left.popitem(last=False)

    def _failed(self) -> list[Waiting]:
        """Return posts that failed, the most important first, without those that are left alone for now."""
        now = time.monotonic()
        jobs = self._store.next_jobs(len(self._left) + _FAILED_AT_ONCE, kind="decision", reason="failure")
        return [
            Waiting(job.post_id, cause=f"{job.decision_id}:again", at=job.created_at)
            for job in jobs
            if job.post_id not in self._left or self._left[job.post_id].until <= now
        ]

    async def judge_some(self, most: int) -> None:
        """Judge the posts again of which the most was reacted to."""
        waiting = {one.post_id: one for one in self._rescoring.take(most)}
        if waiting:
            self._recorder.set(metrics.MODERATION_WAITING, len(self._rescoring))
            await self._judge(waiting)

    async def _judge(self, waiting: Mapping[str, Waiting]) -> list[Judgement]:
        oldest = self._clock.now() - timedelta(days=self._settings.rescore_days)
        stored = await asyncio.to_thread(self._store.posts, list(waiting))
        asked = [
            _asked(waiting[post.post_id], post)
            for post in stored.values()
            if post.state == "active" and post.decision_id is not None and post.posted_at >= oldest
        ]
        judgements = await self._judges.decide(NAME, asked, [])
        for judgement in judgements:
            failed = not isinstance(judgement.scores, PostScores)
            outcome = "failed" if failed else "changed" if judgement.decision is not None else "same"
            self._recorder.count(metrics.MODERATION_RESCORED, outcome=outcome)
        return judgements


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.moderation is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue and the moderator")
    rescoring = Rescoring()
    parts = deps.moderation
    rescorer = Rescorer(parts.store, parts.judges, rescoring, deps.recorder, deps.clock, deps.settings.moderation)
    deps.background.append(rescorer.run)
    deps.background.append(MeasureKeeper(parts.store, deps.recorder, deps.clock).run)
    return record_agent(
        app,
        deps,
        topics=[topics.INTERACTIONS.name],
        name=NAME,
        processor=PostReactions(
            parts.store,
            rescoring,
            deps.recorder,
            deps.settings.streams,
            impression_sample=deps.settings.moderation.impression_sample,
            feed=deps.feed,
        ),
        batch_size=_BATCH,
        within_s=_WITHIN_S,
    )


def is_drawn(event_id: str, share: float) -> bool:
    """Tell whether an event belongs to the sample of that share: by its id, so that a redelivery draws the same."""
    return int(derived_id(event_id, "moderation.prevalence")[-8:], 16) / 2**32 < share


def _events(record: StoredRecord) -> list[InteractionEvent]:
    """Return a record's events; none where nothing in it is for us. What is not valid is left out: others see to it."""
    value = record.value
    if value is None or not any(kind in value for kind in _NEEDED):
        return []
    return valid_events(record, topics.INTERACTIONS.stream or "")  # type: ignore[return-value]  # of this stream


def _report(event: InteractionEvent, post_id: str | None) -> PostReport:
    """Return a report: its first line names the class of harm, the rest is a note; without a class, all is a note.

    `post_id`: what it is about, where that is not what the event names.
    """
    data = event.data
    told = data.value if isinstance(data.value, str) else ""
    named, _, rest = told.partition("\n")
    harm: HarmClass | None = next((one for one in HARM_CLASSES if one == named.strip().lower().replace("-", "_")), None)
    return PostReport(
        post_id=post_id or str(data.item_id),
        reporter_id=data.user_id,
        harm=harm,
        reported_at=event.time,
        event_id=event.id,
        note=told if harm is None else rest,
    )


def _delta(event: InteractionEvent) -> ReactionDelta:
    data, name = event.data, _COUNTED[type(event)]
    comment = data.value if isinstance(event, Comment) and isinstance(data.value, str) else None
    return ReactionDelta(
        event_id=event.id,
        post_id=str(data.item_id),
        **{name: 1},  # type: ignore[arg-type]
        comment=comment,
        user_id=data.user_id,
        at=event.time,
    )


def _asked(waiting: Waiting, post: StoredPost) -> Asked:
    return Asked(post, waiting.cause, waiting.at or post.posted_at, is_new=False)

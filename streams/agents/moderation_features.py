"""moderation-features: what is known of authors and posts, into the online store.

    `moderation.features.v1` -> the newest totals of each author and post -> Feast's online store
    `moderation.decisions.v1` -> whose totals a decision changed -> `moderation.features.v1`

The agents that count tell themselves what they counted. Decisions that nobody has told of are told here: people and
sweeps decide elsewhere, and an agent that ends between a decision and telling of it does not tell.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.errors import ConfigurationError, InvalidEvent, Unavailable
from core.moderation import decode_decision
from core.moderation_totals import PostTotals, Totals, decode_totals
from core.ports import StoredRecord
from core.settings import StreamSettings
from features.totals import newest_of, write_newer
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agent import record_agent
from streams.dependencies import StreamDeps
from streams.envelope import Backoff
from streams.moderation.feed import FeatureFeed

if TYPE_CHECKING:
    from features.online import OnlineStore

NAME = "moderation-features"
_BATCH, _WITHIN_S = 2_000, 0.2
_REMEMBERED = 10_000  # posts with the decision they were last told with; of others a decision is told once more

_log = structlog.get_logger("streams.moderation_features")


class TotalsWriter:
    """The processor. Of the totals of one author or post the newest are written, whatever order they come in."""

    def __init__(
        self, connect: Callable[[], "OnlineStore"], feed: FeatureFeed, recorder: Recorder, settings: StreamSettings
    ) -> None:
        """`connect` opens the online store; it is called when there is something to write."""
        self.waiting_for = ""
        self._connect = connect
        self._online: OnlineStore | None = None
        self._feed = feed
        self._recorder = recorder
        self._settings = settings
        self._told: OrderedDict[str, str] = OrderedDict()  # by post the decision it was told with

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        """Apply a batch; a store or broker that does not answer is waited for. Raises Abandoned."""
        totals = newest_of(_told(records))
        self._remember(totals)
        decided = [
            post_id for post_id, decision_id in _decided(records).items() if self._told.get(post_id) != decision_id
        ]
        backoff = Backoff(self._settings.backoff_s)
        while totals or decided:
            try:
                await asyncio.to_thread(self._write, totals)
                totals = []
                if decided:
                    await self._feed.changed(posts=decided)
                break
            except Unavailable as error:
                self.waiting_for = f"{NAME}: {error}"
                self._recorder.count(metrics.RETRIES, agent=NAME)
                await backoff.pause(owned, error.retry_after_s)
        self.waiting_for = ""
        self._recorder.count(metrics.EVENTS, len(records), agent=NAME, outcome="applied")

    def _remember(self, totals: Sequence[Totals]) -> None:
        for one in totals:
            if isinstance(one, PostTotals):
                self._told[one.post_id] = one.decision_id
                self._told.move_to_end(one.post_id)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def _write(self, totals: Sequence[Totals]) -> None:
        if totals:
            if self._online is None:
                self._online = self._connect()
            write_newer(self._online, totals)


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.online is None or deps.feed is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue and the online store")
    return record_agent(
        app,
        deps,
        topics=[topics.FEATURES.name, topics.DECISIONS.name],
        name=NAME,
        processor=TotalsWriter(deps.online, deps.feed, deps.recorder, deps.settings.streams),
        batch_size=_BATCH,
        within_s=_WITHIN_S,
    )


def _told(records: Sequence[StoredRecord]) -> list[Totals]:
    """Return the totals among records."""
    found: list[Totals] = []
    for record in records:
        if record.topic != topics.FEATURES.name or record.value is None:
            continue
        try:
            found.append(decode_totals(record.value))
        except InvalidEvent as error:
            _log.error("totals_not_read", offset=record.offset, error=str(error))
    return found


def _decided(records: Sequence[StoredRecord]) -> dict[str, str]:
    """Return the posts that decisions are about, each with the last of them."""
    found: dict[str, str] = {}
    for record in records:
        if record.topic != topics.DECISIONS.name or record.value is None:
            continue
        try:
            decision = decode_decision(record.value)
        except InvalidEvent as error:
            _log.error("decision_not_read", offset=record.offset, error=str(error))
            continue
        found[decision.post_id] = decision.decision_id
    return found

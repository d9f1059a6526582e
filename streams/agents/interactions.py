"""interactions: from impressions, clicks, watch time to features.

The engine counts each event once (offset fence and event ids, in one transaction with the counts), so a batch that
is delivered again changes nothing. Counting runs in a thread; rows are pushed to the online store by a timer.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.errors import ConfigurationError, LateEvent, Unavailable
from core.events import event_type
from features.engine import FeatureEngine
from features.interactions import LocatedEvent
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agent import agent
from streams.dependencies import StreamDeps
from streams.envelope import Delivered, Rejected

NAME = "interactions"
SURFACES = frozenset({"visual_search", "video_search", "home", "related", "profile", "feed"})
SWEEP_INTERVAL_S = 60.0

_log = structlog.get_logger("streams.interactions")


class FeatureUpdater:
    """The handler: counts a batch, and turns what is too late into dead letters."""

    def __init__(self, engine: FeatureEngine, recorder: Recorder, epoch: str, max_lateness_days: float) -> None:
        self._engine = engine
        self._recorder = recorder
        self._epoch = epoch
        self._max_lateness_days = max_lateness_days

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        located = [
            LocatedEvent(
                event=item.event,  # type: ignore[arg-type]
                topic=item.record.topic,
                partition=item.record.partition,
                offset=item.record.offset,
                epoch=self._epoch,
                timestamp_ms=item.record.timestamp_ms,
            )
            for item in batch
        ]
        result = await asyncio.to_thread(self._engine.apply, located)
        late = {id(entry) for entry in result.late}
        seen = Counter(
            (event_type(item.event).rpartition(".")[2], item.event.data.surface)  # type: ignore[union-attr]
            for item in batch
        )
        for (kind, surface), number in seen.items():
            known = surface if surface in SURFACES else "other"
            self._recorder.count(metrics.INTERACTIONS, number, kind=kind, surface=known)
        if result.duplicates:
            self._recorder.count(metrics.EVENTS, result.duplicates, agent=NAME, outcome="duplicate")
        return [
            Rejected(item, LateEvent(f"older than {self._max_lateness_days:g} days when it arrived"))
            for item, entry in zip(batch, located, strict=True)
            if id(entry) in late
        ]


async def push_rows(engine: FeatureEngine, interval_s: float) -> None:
    """Push touched entities to the online store, and now and then those whose windows moved. Runs until cancelled.

    What fails stays marked in the engine and is pushed the next time.
    """
    loop = asyncio.get_running_loop()
    next_sweep = loop.time()
    failing = False
    while True:
        try:
            if loop.time() >= next_sweep:
                next_sweep = loop.time() + SWEEP_INTERVAL_S
                await asyncio.to_thread(engine.sweep)
            else:
                await asyncio.to_thread(engine.flush)
            failing = False
        except Unavailable as error:
            if not failing:
                _log.warning("features are not pushed", error=str(error))
            failing = True
        await asyncio.sleep(interval_s)


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.features is None:
        raise ConfigurationError(f"agent {NAME} needs the feature engine")
    engine, settings = deps.features, deps.settings
    interval_s = settings.features.flush_interval_s
    deps.background.append(lambda: push_rows(engine, interval_s))
    epoch = deps.epochs.get(topics.INTERACTIONS.name, "")
    return agent(
        app,
        deps,
        topic=topics.INTERACTIONS.name,
        stream="interactions",
        name=NAME,
        handle=FeatureUpdater(engine, deps.recorder, epoch, settings.features.max_lateness_days),
        batch_size=settings.streams.interactions_batch_size,
        within_s=settings.streams.interactions_within_s,
    )

"""interactions: from impressions, clicks, watch time to features and online metrics.

The engine counts each event once (offset fence and event ids, in one transaction with the counts), so a batch that
is delivered again changes nothing. Counting runs in a thread and needs no online store; rows are pushed by a timer.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.clock import Clock
from core.errors import ConfigurationError, LateEvent, Unavailable
from features.engine import FeatureEngine, SurfaceTotals
from features.interactions import LocatedEvent, known_surface
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agent import agent
from streams.decoding import Delivered
from streams.dependencies import StreamDeps
from streams.envelope import Rejected

NAME = "interactions"
SYSTEM = "features"
SWEEP_INTERVAL_S = 60.0
SURFACES_INTERVAL_S = 10.0
CONNECT_RETRY_S = 1.0
PUSH_REST = 3.0  # times what the push took: a quarter of the time at most goes into pushing
MEASURED_PER_PUSH = 1_000  # events whose freshness is observed in one push, so that measuring stays cheap

_log = structlog.get_logger("streams.interactions")


class Unpushed:
    """Times of events that are counted and not yet in the online store: what feature freshness is measured on.

    Only events from after the start are measured: older ones say how long we were down, not how fast we are.
    """

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._started = clock.now()
        self._times: list[datetime] = []

    def counted(self, times: Iterable[datetime]) -> None:
        """Remember events that were just counted (those that wait longest, when they are many)."""
        free = MEASURED_PER_PUSH - len(self._times)
        if free > 0:
            self._times += islice((time for time in times if time >= self._started), free)

    def take(self) -> list[datetime]:
        """Return what waits; call it before a push, for what is counted during the push may not be in it."""
        taken, self._times = self._times, []
        return taken

    def put_back(self, taken: Sequence[datetime]) -> None:
        """Take back what a failed push left."""
        self._times = [*taken, *self._times][:MEASURED_PER_PUSH]

    def pushed(self, taken: Sequence[datetime]) -> None:
        """Observe how old the events are now that their effect is served."""
        now = self._clock.now()
        for time in taken:
            self._recorder.observe(
                metrics.FRESHNESS, max(0.0, (now - time).total_seconds()), system=SYSTEM, effect="feature"
            )


class FeatureUpdater:
    """The handler: counts a batch, and turns what is too late into dead letters."""

    def __init__(
        self, engine: FeatureEngine, recorder: Recorder, unpushed: Unpushed, epoch: str, max_lateness_days: float
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._unpushed = unpushed
        self._epoch = epoch
        self._max_lateness_days = max_lateness_days

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        epoch = self._epoch
        located = [
            LocatedEvent(item.event, record.topic, record.partition, record.offset, epoch, record.timestamp_ms)  # type: ignore[arg-type]
            for item in batch
            for record in (item.record,)
        ]
        result = await asyncio.to_thread(self._engine.apply, located)
        late = {id(entry) for entry in result.late}
        if result.touched:
            self._unpushed.counted(entry.event.time for entry in located if id(entry) not in late)
        self._count_kinds(located)
        if result.duplicates:
            self._recorder.count(metrics.EVENTS, result.duplicates, agent=NAME, outcome="duplicate")
        return [
            Rejected(item, LateEvent(f"older than {self._max_lateness_days:g} days when it arrived"))
            for item, entry in zip(batch, located, strict=True)
            if id(entry) in late
        ]

    def _count_kinds(self, located: Sequence[LocatedEvent]) -> None:
        kinds = Counter([(type(entry.event), entry.event.data.surface) for entry in located])
        for (kind, surface), number in kinds.items():
            name = str(kind.__struct_config__.tag).rpartition(".")[2]
            self._recorder.count(metrics.INTERACTIONS, number, kind=name, surface=known_surface(surface))


class FeaturePusher:
    """Brings what was counted to the online store, by a timer; what fails stays marked in the engine for next time."""

    def __init__(self, engine: FeatureEngine, recorder: Recorder, unpushed: Unpushed, interval_s: float) -> None:
        self._engine = engine
        self._recorder = recorder
        self._unpushed = unpushed
        self._interval_s = interval_s
        self._failing = False

    async def run(self) -> None:
        """Open the online store, then push until cancelled."""
        while True:
            if await self._try(self._engine.connect):
                break
            await asyncio.sleep(CONNECT_RETRY_S)
        gc.collect()
        gc.freeze()  # Feast leaves hundreds of thousands of objects that no later collection need look at
        _log.info("features are pushed")
        loop = asyncio.get_running_loop()
        next_sweep = loop.time()
        while True:
            started = loop.time()
            due = started >= next_sweep
            await self.push(sweep=due)
            if due:
                next_sweep = loop.time() + SWEEP_INTERVAL_S
            # Under load a push is long: resting longer leaves the counting its share, and the next push covers more.
            await asyncio.sleep(max(self._interval_s, PUSH_REST * (loop.time() - started)))

    async def push(self, *, sweep: bool = False) -> None:
        """Push touched entities once; with `sweep`, also those whose windows moved because time passed."""
        taken = self._unpushed.take()
        started = asyncio.get_running_loop().time()
        if await self._try(self._engine.sweep if sweep else self._engine.flush):
            self._unpushed.pushed(taken)
            self._recorder.observe(metrics.FEATURES_PUSH_SECONDS, asyncio.get_running_loop().time() - started)
        else:
            self._unpushed.put_back(taken)
        self._recorder.set(metrics.FEATURES_PENDING, await asyncio.to_thread(self._engine.pending))

    async def _try(self, act: Callable[[], object]) -> bool:
        try:
            await asyncio.to_thread(act)
        except Unavailable as error:
            if not self._failing:
                _log.warning("features are not pushed", error=str(error))
            self._failing = True
            return False
        self._failing = False
        return True


async def watch_surfaces(engine: FeatureEngine, recorder: Recorder) -> None:
    """Record click-through rate and time spent of every surface, until cancelled."""
    while True:
        record_surfaces(await asyncio.to_thread(engine.surfaces), recorder)
        await asyncio.sleep(SURFACES_INTERVAL_S)


def record_surfaces(totals: Sequence[SurfaceTotals], recorder: Recorder) -> None:
    """Set the gauges of each surface and window. A ratio without impressions is not a number, as Prometheus has it."""
    for row in totals:
        labels = {"surface": row.surface, "window": row.window}
        ctr = row.clicks / row.impressions if row.impressions else float("nan")
        per_impression = row.time_spent_s / row.impressions if row.impressions else float("nan")
        recorder.set(metrics.ONLINE_CTR, ctr, **labels)
        recorder.set(metrics.ONLINE_TIME_SPENT, row.time_spent_s, **labels)
        recorder.set(metrics.ONLINE_TIME_PER_IMPRESSION, per_impression, **labels)


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.features is None:
        raise ConfigurationError(f"agent {NAME} needs the feature engine")
    engine, recorder, settings = deps.features, deps.recorder, deps.settings
    unpushed = Unpushed(recorder, deps.clock)
    pusher = FeaturePusher(engine, recorder, unpushed, settings.features.flush_interval_s)
    deps.background += [pusher.run, lambda: watch_surfaces(engine, recorder)]
    epoch = deps.epochs.get(topics.INTERACTIONS.name, "")
    return agent(
        app,
        deps,
        topic=topics.INTERACTIONS.name,
        stream="interactions",
        name=NAME,
        handle=FeatureUpdater(engine, recorder, unpushed, epoch, settings.features.max_lateness_days),
        batch_size=settings.streams.interactions_batch_size,
        within_s=settings.streams.interactions_within_s,
    )

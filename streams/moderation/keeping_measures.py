"""Keeps the measures of moderation as gauges: of the last week, looked at once a minute.

Also opens the jobs of drawn impressions that could not be opened when they were drawn: the post had no decision yet, or
the process died.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import timedelta

import structlog

from core.clock import Clock
from core.errors import Unavailable
from models.moderation.measures import Estimate, Measures, Times, measure
from models.moderation.policy.proportions import Proportion
from monitoring import catalogue as metrics
from monitoring.catalogue import Gauge
from monitoring.recorder import Recorder
from storage.moderation import ModerationStore

DAYS = 7
EVERY_S = 60.0
_AT_MOST = 0.05  # share of the time that counting may take: of a great store it is done less often

_log = structlog.get_logger("streams.moderation")


class MeasureKeeper:
    """One for a process; two of them say the same."""

    def __init__(self, store: ModerationStore, recorder: Recorder, clock: Clock) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock

    async def run(self) -> None:
        """Measure until cancelled; a catalogue that does not answer leaves the gauges as they are."""
        while True:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self.measure)
            except Unavailable as error:
                _log.warning("moderation_not_measured", error=str(error))
            await asyncio.sleep(max(EVERY_S, (time.monotonic() - began) / _AT_MOST))

    def measure(self) -> Measures:
        """Measure once. Raises Unavailable when the catalogue does not answer."""
        since = self._clock.now() - timedelta(days=DAYS)
        waiting = self._store.drawn_to_look_at(since)
        if waiting:
            self._store.open_samples(waiting)
        found = measure(self._store.counted(since))
        self._tell(found)
        return found

    def _tell(self, found: Measures) -> None:
        recorder = self._recorder
        for harm, estimate in found.prevalence.items():
            self._interval(metrics.MODERATION_PREVALENCE, estimate, harm=harm)
        for harm, number in found.harmful_impressions.items():
            recorder.set(metrics.MODERATION_HARMFUL_IMPRESSIONS, number, harm=harm)
        self._interval(metrics.MODERATION_VALID_APPEALS, _estimate(found.valid_appeals))
        self._interval(metrics.MODERATION_PROACTIVE, _estimate(found.proactive))
        for harm, reports in found.reports.items():
            recorder.set(metrics.MODERATION_REPORTS, reports.reports, harm=harm)
        lasted: Mapping[str, Times] = {"enforced": found.post_to_enforced, "answered": found.report_to_decision}
        for what, took in lasted.items():
            for name, value in (("p50", took.p50_s), ("p95", took.p95_s)):
                recorder.set(metrics.MODERATION_ACTION_SECONDS, _number(value), what=what, quantile=name)
        sample = found.sample
        recorder.set(metrics.MODERATION_SAMPLED, sample.posts_reviewed, state="reviewed")
        recorder.set(metrics.MODERATION_SAMPLED, sample.posts - sample.posts_reviewed, state="waiting")

    def _interval(self, gauge: Gauge, estimate: Estimate, **labels: str) -> None:
        for bound in ("value", "low", "high"):
            self._recorder.set(gauge, _number(getattr(estimate, bound)), bound=bound, **labels)


def _estimate(found: Proportion) -> Estimate:
    return Estimate(value=found.share, low=found.low, high=found.high)


def _number(value: float | None) -> float:
    """Return a gauge's value: unknown is NaN, which no graph draws and no alert compares."""
    return math.nan if value is None else value

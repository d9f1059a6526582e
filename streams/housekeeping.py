"""Daily housekeeping of the catalogue: forgets applied events and traces that are older than anybody needs.

An inbox row may go when its event can no longer come again: a record stays in its topic for 31 days at most, and an
event may be as late as `features.max_lateness_days` before that. Traces are what clicks are learned from and what
"why" is answered from; `catalogue.trace_retention_days` says for how long.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from core.clock import Clock
from core.errors import Unavailable
from core.settings import CatalogueSettings, FeatureSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder

LONGEST_RETENTION = timedelta(days=31)  # of any topic that events are read or replayed from, and a day
EVERY_S = 86_400.0
RETRY_S = 60.0

_log = structlog.get_logger("streams.housekeeping")


class Prunable(Protocol):
    """The part of the catalogue that housekeeping uses."""

    def prune_inbox(self, older_than: datetime) -> int: ...

    def prune_traces(self, older_than: datetime) -> int: ...


@dataclass(frozen=True)
class Pruned:
    """How many rows went."""

    inbox: int
    traces: int


class Housekeeping:
    """Prunes at the start and then once a day. Doing it twice, or in two processes, is harmless."""

    def __init__(
        self,
        catalogue: Prunable,
        recorder: Recorder,
        clock: Clock,
        settings: CatalogueSettings,
        features: FeatureSettings,
    ) -> None:
        self._catalogue = catalogue
        self._recorder = recorder
        self._clock = clock
        self._keep_traces = timedelta(days=settings.trace_retention_days)
        self._keep_inbox = timedelta(days=features.max_lateness_days) + LONGEST_RETENTION

    async def run(self) -> None:
        """Prune until cancelled; a catalogue that does not answer is asked again in a minute."""
        while True:
            try:
                pruned = await asyncio.to_thread(self.prune)
            except Unavailable as error:
                _log.warning("the catalogue is not pruned", error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            _log.info("pruned", inbox=pruned.inbox, traces=pruned.traces)
            await asyncio.sleep(EVERY_S)

    def prune(self) -> Pruned:
        """Prune once. Raises Unavailable when the catalogue does not answer."""
        now = self._clock.now()
        pruned = Pruned(
            inbox=self._catalogue.prune_inbox(now - self._keep_inbox),
            traces=self._catalogue.prune_traces(now - self._keep_traces),
        )
        self._recorder.count(metrics.PRUNED, pruned.inbox, table="inbox")
        self._recorder.count(metrics.PRUNED, pruned.traces, table="traces")
        return pruned

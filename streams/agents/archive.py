"""archive: every source record to Parquet, in its original bytes, acknowledged after the file is durable.

Nothing is decoded here and nothing can be poison: what fails is the disk, so it is tried until it works.
"""

import asyncio
from collections.abc import Callable, Sequence

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.errors import ConfigurationError, Unavailable
from core.ports import StoredRecord
from core.settings import StreamSettings
from features.archive import ArchiveWriter
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agent import record_agent
from streams.dependencies import StreamDeps
from streams.envelope import Backoff

NAME = "archive"

_log = structlog.get_logger("streams.archive")


class Archiver:
    """The processor: writes batches, each topic by itself; writing the same records again leaves the same files."""

    def __init__(
        self, writer: ArchiveWriter, recorder: Recorder, settings: StreamSettings, epochs: dict[str, str]
    ) -> None:
        self.waiting_for = ""
        self._writer = writer
        self._recorder = recorder
        self._settings = settings
        self._epochs = epochs

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        by_topic: dict[str, list[StoredRecord]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append(record)
        with self._recorder.time(metrics.BATCH_SECONDS, agent=NAME):
            for topic, chunk in by_topic.items():
                await self._write(topic, chunk, owned)
        self._recorder.count(metrics.EVENTS, len(records), agent=NAME, outcome="applied")

    async def _write(self, topic: str, records: list[StoredRecord], owned: Callable[[], bool]) -> None:
        backoff = Backoff(self._settings.backoff_s)
        while True:
            try:
                await asyncio.to_thread(self._writer.write, topic, records, epoch=self._epochs.get(topic, ""))
                self.waiting_for = ""
                return
            except (OSError, Unavailable) as error:
                if not self.waiting_for:
                    _log.warning("the archive cannot be written", topic=topic, error=str(error))
                self.waiting_for = f"{NAME}: {error}"
                self._recorder.count(metrics.RETRIES, agent=NAME)
                await backoff.pause(owned)


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.archive is None:
        raise ConfigurationError(f"agent {NAME} needs the archive")
    settings = deps.settings.streams
    return record_agent(
        app,
        deps,
        topics=[topic.name for topic in topics.ARCHIVED],
        name=NAME,
        processor=Archiver(deps.archive, deps.recorder, settings, deps.epochs),
        batch_size=settings.archive_batch_size,
        within_s=settings.archive_within_s,
    )

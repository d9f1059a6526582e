"""Sends what the catalogue's outbox holds, in order: rows are written with what they tell about, and sent from here."""

import asyncio
from typing import Protocol

import structlog

from core.errors import InvalidInput, Unavailable
from core.ports import OutgoingRecord, Publisher
from core.settings import StreamSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.envelope import Backoff, always

BATCH = 200
LOOK_EVERY_S = 0.05  # writers are other processes, so the relay has to look; an indexed read of an empty table

_log = structlog.get_logger("streams.outbox")


class Outbox(Protocol):
    """The part of the catalogue the relay uses."""

    def outbox_pending(self, limit: int) -> list[tuple[int, OutgoingRecord]]: ...

    def outbox_sent(self, numbers: list[int]) -> None: ...

    def outbox_size(self) -> int: ...


class OutboxRelay:
    """Publishes rows oldest first and takes them out once the broker has them.

    A crash between the two sends them again: consumers know event ids. A row that the broker can never take (too
    large) would stop all behind it; it is logged as an error and taken out.
    """

    def __init__(self, outbox: Outbox, publisher: Publisher, recorder: Recorder, settings: StreamSettings) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._recorder = recorder
        self._settings = settings

    async def run(self) -> None:
        """Relay until cancelled."""
        backoff = Backoff(self._settings.backoff_s)
        while True:
            try:
                sent = await self.relay_once()
            except Unavailable as error:
                if backoff.tries == 0:
                    _log.warning("the outbox is not relayed", error=str(error))
                await backoff.pause(always, error.retry_after_s)
                continue
            backoff.tries = 0
            if sent < BATCH:
                await asyncio.sleep(LOOK_EVERY_S)

    async def relay_once(self) -> int:
        """Send one batch; return how many rows left the outbox. Raises Unavailable: nothing of it is lost."""
        pending = await asyncio.to_thread(self._outbox.outbox_pending, BATCH)
        if not pending:
            self._recorder.set(metrics.OUTBOX_PENDING, 0)
            return 0
        try:
            await self._publisher.publish([record for _, record in pending])
        except InvalidInput:
            await self._one_by_one(pending)
        await asyncio.to_thread(self._outbox.outbox_sent, [number for number, _ in pending])
        self._recorder.set(metrics.OUTBOX_PENDING, await asyncio.to_thread(self._outbox.outbox_size))
        return len(pending)

    async def _one_by_one(self, pending: list[tuple[int, OutgoingRecord]]) -> None:
        for number, record in pending:
            try:
                await self._publisher.publish([record])
            except InvalidInput as error:
                _log.error(
                    "an outbox row can never be sent and is dropped",
                    number=number,
                    topic=record.topic,
                    key=record.key,
                    error=str(error),
                )

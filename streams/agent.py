"""Makes a Faust agent out of a handler: the wiring between the transport's inbox and the envelope.

Faust subscribes, fetches, rebalances and commits. What it is not used for is deciding when a record is done: its
stream iterator and `take()` acknowledge in `finally`, so an exception or a cancellation in the body loses records.
The body here reads the agent's inbox (`streams.transport` fills it) and settles a batch only after the processor
returned, in order. A batch is what waits, up to its bounds: small while nothing is behind, large when there is lag.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import faust
import structlog
from faust.types import AgentT

from core.ports import StoredRecord
from streams.dependencies import StreamDeps
from streams.envelope import Abandoned, Envelope, Handle, Processor, SeenEvents
from streams.inbox import Chunk, Inbox

EXIT_RESTART = 75  # EX_TEMPFAIL: the supervisor starts the process again, and the broker redelivers
MAX_BATCH_BYTES = 4 * 1024 * 1024  # frames of frames: bounds memory and time of one batch, whatever the record count

_log = structlog.get_logger("streams.agent")


class Pump:
    """Moves records from one agent's inbox through its processor, a micro-batch or several at a time.

    Batches are settled in the order in which they were taken, whichever ends first: only what follows on what was
    settled before can be.
    """

    def __init__(
        self,
        app: faust.App,
        name: str,
        processor: Processor,
        inbox: Inbox,
        *,
        topics: list[str],
        batch_size: int,
        within_s: float,
        at_once: int = 1,
        exit_process: Callable[[int], Any] = os._exit,
    ) -> None:
        """`at_once` batches may be under way; with more than one, the processor keeps the order that it needs."""
        self.name = name
        self.processor = processor
        self.topics = topics
        self.handled = 0  # records settled since the start
        self._app = app
        self._inbox = inbox
        self._batch_size = batch_size
        self._within_s = within_s
        self._at_once = at_once
        self._under_way: set[asyncio.Task[None]] = set()
        self._taking = False
        self._exit = exit_process
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Take no more records and wait for the batches in hand. False when they did not end in time."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Pump until cancelled. Nothing but a cancellation leaves this method; what cannot go on ends the process."""
        last: asyncio.Task[None] | None = None
        try:
            while True:
                await self._inbox.wait()
                if self._stopping:
                    self._inbox.clear()  # not settled: the broker delivers it again
                    continue
                last = asyncio.create_task(self._carry(await self._take(), last), name=f"{self.name}-batch")
                self._under_way.add(last)
                last.add_done_callback(self._ended)
                self._taking = False
                if len(self._under_way) >= self._at_once:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for batch in self._under_way:
                batch.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            self._taking = False
            self._idle.set()

    def _ended(self, batch: "asyncio.Task[None]") -> None:
        self._under_way.discard(batch)
        if not self._under_way and not self._taking:
            self._idle.set()

    async def _carry(self, chunks: list[Chunk], before: "asyncio.Task[None] | None") -> None:
        """Take a batch through the processor and settle it after the batch `before` it, or have it fetched again."""
        try:
            if not await self._batch(chunks, before):
                self._consumer.refetch(chunks)
        except Abandoned as reason:
            self._consumer.refetch(chunks)
            _log.info("batch abandoned; it will be delivered again", agent=self.name, reason=str(reason))
        except asyncio.CancelledError:
            raise  # nothing was settled
        except BaseException as error:
            _log.critical("the agent cannot go on; ending the process before the ack", agent=self.name, exc_info=error)
            self._exit(EXIT_RESTART)

    async def _take(self) -> list[Chunk]:
        """Return what waits, and what comes within `within_s` while that is less than a batch."""
        self._taking = True
        self._idle.clear()
        chunks: list[Chunk] = []
        records = size = 0
        deadline = asyncio.get_running_loop().time() + self._within_s
        while True:
            for chunk in self._inbox.take(self._batch_size - records, MAX_BATCH_BYTES - size):
                chunks.append(chunk)
                records += len(chunk.records)
                size += chunk.bytes
            if records >= self._batch_size or size >= MAX_BATCH_BYTES:
                return chunks
            try:
                async with asyncio.timeout_at(deadline):
                    await self._inbox.wait()
            except TimeoutError:
                return chunks

    @property
    def _consumer(self) -> Any:
        return self._app.consumer  # a BatchConsumer: see streams.transport

    async def _batch(self, chunks: list[Chunk], before: "asyncio.Task[None] | None") -> bool:
        """Process and settle; False when the chunks are not ours, or not now."""
        consumer = self._consumer
        # Records fetched before a rebalance are dropped: whoever owns the partition now reads them again.
        stamp = consumer.stamp
        chunks = [chunk for chunk in chunks if chunk.stamp == stamp]
        if not chunks or not consumer.owns(stamp):
            return False

        def owned() -> bool:
            return not self._stopping and consumer.owns(stamp)

        await self.processor.process([_stored(record) for chunk in chunks for record in chunk.records], owned)
        if before is not None:
            await asyncio.wait([before])
        consumer.settle(chunks)
        self.handled += sum(len(chunk.records) for chunk in chunks)
        return True


def agent(
    app: faust.App,
    deps: StreamDeps,
    *,
    topic: str,
    stream: str,
    name: str,
    handle: Handle,
    batch_size: int,
    within_s: float,
    at_once: int = 1,
    inbox: SeenEvents | None = None,
) -> AgentT:
    """Register an agent that takes `topic` through the envelope into `handle`.

    `stream` names the event union to decode (a key of `core.events.STREAM_EVENTS`); `inbox` remembers applied events
    for handlers whose sink does not. Of `at_once` batches under way no two have events of the same key.
    """
    envelope = Envelope(
        name,
        stream,
        handle,
        publisher=deps.publisher,
        settings=deps.settings.streams,
        recorder=deps.recorder,
        clock=deps.clock,
        inbox=inbox,
        code_version=deps.code_version,
        tracer=deps.tracer,
    )
    return record_agent(
        app,
        deps,
        topics=[topic],
        name=name,
        processor=envelope,
        batch_size=batch_size,
        within_s=within_s,
        at_once=at_once,
    )


def record_agent(
    app: faust.App,
    deps: StreamDeps,
    *,
    topics: list[str],
    name: str,
    processor: Processor,
    batch_size: int,
    within_s: float,
    at_once: int = 1,
) -> AgentT:
    """Register an agent that gives the raw records of `topics` to `processor`."""
    streams = deps.settings.streams
    inbox = Inbox(max(streams.stream_buffer, batch_size), 2 * MAX_BATCH_BYTES)
    pump = Pump(
        app,
        name,
        processor,
        inbox,
        topics=topics,
        batch_size=batch_size,
        within_s=within_s,
        at_once=at_once,
        exit_process=deps.exit_process,
    )
    app.transport.deliver(topics, inbox)  # type: ignore[attr-defined]  # a BatchTransport: see streams.app
    deps.pumps.append(pump)
    channel = app.topic(*topics, key_serializer="raw", value_serializer="raw", acks=True)

    async def body(stream: Any) -> None:
        await pump.run()

    body.__name__ = body.__qualname__ = name.replace("-", "_")
    return app.agent(channel, name=name, concurrency=1)(body)


def _stored(record: Any) -> StoredRecord:
    key = record.key
    return StoredRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=key.decode("utf-8", "replace") if key else "",
        value=record.value,
        headers={name: value if value is not None else b"" for name, value in record.headers},
        timestamp_ms=record.timestamp,
    )

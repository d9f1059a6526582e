"""Makes a Faust agent out of a handler: the wiring between Faust's queue and the envelope.

Faust subscribes, fetches, rebalances and commits. What it is not used for is deciding when a record is done: its
stream iterator and `take()` acknowledge in `finally`, so an exception or a cancellation in the body loses records.
The body here reads the agent's queue itself and acknowledges a batch only after the processor returned, in order.
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
from streams.envelope import Abandoned, Envelope, Handle, Inbox, Processor

EXIT_RESTART = 75  # EX_TEMPFAIL: the supervisor starts the process again, and the broker redelivers
MAX_BATCH_BYTES = 4 * 1024 * 1024  # frames of frames: bounds memory and time of one batch, whatever the record count

_log = structlog.get_logger("streams.agent")


class Pump:
    """Moves records from one agent's queue through its processor, a micro-batch at a time."""

    def __init__(
        self,
        app: faust.App,
        name: str,
        processor: Processor,
        *,
        topics: list[str],
        batch_size: int,
        within_s: float,
        exit_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self.name = name
        self.processor = processor
        self.topics = topics
        self.handled = 0  # records settled since the start
        self._app = app
        self._batch_size = batch_size
        self._within_s = within_s
        self._exit = exit_process
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Take no more records and wait for the batch in hand. False when it did not end in time."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, queue: asyncio.Queue) -> None:
        """Pump until cancelled. Nothing but a cancellation leaves this method; what cannot go on ends the process."""
        while True:
            first = await queue.get()
            if self._stopping:
                continue  # not acked: the broker delivers it again
            self._idle.clear()
            try:
                await self._batch([first.message, *await self._more(queue, first.message)])
            except Abandoned as reason:
                _log.info("batch abandoned; it will be delivered again", agent=self.name, reason=str(reason))
            except asyncio.CancelledError:
                raise  # nothing was acked
            except BaseException as error:
                _log.critical(
                    "the agent cannot go on; ending the process before the ack", agent=self.name, exc_info=error
                )
                self._exit(EXIT_RESTART)
            finally:
                self._idle.set()

    async def _more(self, queue: asyncio.Queue, first: Any) -> list[Any]:
        messages: list[Any] = []
        size = len(first.value or b"")
        deadline = asyncio.get_running_loop().time() + self._within_s
        while len(messages) + 1 < self._batch_size and size < MAX_BATCH_BYTES:
            if queue.empty():
                try:
                    async with asyncio.timeout_at(deadline):
                        event = await queue.get()
                except TimeoutError:
                    break
            else:
                event = queue.get_nowait()
            messages.append(event.message)
            size += len(event.message.value or b"")
        return messages

    async def _batch(self, messages: list[Any]) -> None:
        generation = self._app.consumer_generation_id
        # Records fetched before a rebalance are dropped: whoever owns the partition now reads them again.
        messages = [message for message in messages if message.generation_id == generation]
        if not messages or not self._app.flow_control.is_active():
            return

        def owned() -> bool:
            return not self._stopping and self._app.consumer_generation_id == generation

        await self.processor.process([_stored(message) for message in messages], owned)
        if self._app.consumer_generation_id != generation:
            return
        consumer = self._app.consumer
        for message in messages:
            message.ack(consumer)
        self.handled += len(messages)


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
    inbox: Inbox | None = None,
) -> AgentT:
    """Register an agent that takes `topic` through the envelope into `handle`.

    `stream` names the event union to decode (a key of `core.events.STREAM_EVENTS`); `inbox` remembers applied events
    for handlers whose sink does not.
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
        app, deps, topics=[topic], name=name, processor=envelope, batch_size=batch_size, within_s=within_s
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
) -> AgentT:
    """Register an agent that gives the raw records of `topics` to `processor`."""
    pump = Pump(
        app, name, processor, topics=topics, batch_size=batch_size, within_s=within_s, exit_process=deps.exit_process
    )
    deps.pumps.append(pump)
    channel = app.topic(*topics, key_serializer="raw", value_serializer="raw", acks=True)

    async def body(stream: Any) -> None:
        await pump.run(stream.channel.queue)

    body.__name__ = body.__qualname__ = name.replace("-", "_")
    return app.agent(channel, name=name, concurrency=1)(body)


def _stored(message: Any) -> StoredRecord:
    key = message.key
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return StoredRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=key.decode("utf-8", "replace") if key else "",
        value=message.value,
        headers={name: value if value is not None else b"" for name, value in pairs},
        timestamp_ms=int(message.timestamp * 1000),
    )

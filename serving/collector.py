"""The collector: events over HTTP for producers without a Kafka client, with the same promises.

An event that is accepted is durable: the broker has acknowledged it, or, while the broker cannot be reached, it is in
the catalogue's outbox and the relay sends it later. An event that is not accepted is named, with the reason.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import msgspec

from core import events
from core.clock import Clock
from core.errors import FutureEvent, InvalidInput, MissingMedia, NotFound, Overloaded, TooLarge, Unavailable
from core.ports import ObjectStore, OutgoingRecord, Publisher
from core.topics import BY_STREAM
from monitoring.tracing import record_headers


class Outbox(Protocol):
    """Where records wait, durably, for a broker that cannot be reached (the catalogue)."""

    def outbox_add(self, records: list[OutgoingRecord]) -> None: ...


@dataclass(frozen=True)
class Rejection:
    """Why the event at `index` of the call was not taken."""

    index: int
    error: str
    code: str


@dataclass
class Collection:
    """What became of the events of one call."""

    accepted: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    queued: bool = False


class Collector:
    """Validates events and hands them on; see the module."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        outbox: Outbox,
        objects: ObjectStore,
        clock: Clock,
        max_events: int,
        max_future_s: float,
        publish_timeout_s: float = 2.0,
        retry_broker_after_s: float = 2.0,
    ) -> None:
        """`publish_timeout_s`: after this a broker counts as unreachable; then calls go straight to the outbox for
        `retry_broker_after_s`, so that an outage costs the wait once and not once a call."""
        self._publisher = publisher
        self._outbox = outbox
        self._objects = objects
        self._clock = clock
        self._max_events = max_events
        self._max_future = timedelta(seconds=max_future_s)
        self._publish_timeout_s = publish_timeout_s
        self._retry_broker_after_s = retry_broker_after_s
        self._unreachable_until = float("-inf")

    async def collect(self, stream: str, body: bytes, *, traceparent: str | None = None) -> Collection:
        """Take the events in `body`: one JSON object, or an array of them.

        `traceparent` is given to events that carry none, so that a trace begins where the event came in.

        Raises:
            NotFound: there is no such stream.
            InvalidEvent: the body is not JSON, or an array that is not one.
            TooLarge: more events than one call may bring.
            Overloaded: the producer's queue is full; nothing was taken.
        """
        topic = BY_STREAM.get(stream)
        if topic is None:
            raise NotFound(f"there is no stream {stream!r}; streams are {', '.join(BY_STREAM)}")
        raw_events = events.split_record(body)
        if len(raw_events) > self._max_events:
            raise TooLarge(f"{len(raw_events)} events in one call; send at most {self._max_events}")
        collection = Collection()
        taken: list[tuple[int, events.AnyEvent]] = []
        for index, raw in enumerate(raw_events):
            try:
                taken.append((index, self._check(raw, stream)))
            except InvalidInput as error:
                collection.rejected.append(Rejection(index, str(error), error.code))
        missing = await self._missing_media([event for _, event in taken])
        records: list[OutgoingRecord] = []
        for index, event in taken:
            if media := missing & set(_media_ids(event)):
                reason = f"no media is stored under {min(media)}; POST it to /v1/media first"
                collection.rejected.append(Rejection(index, reason, MissingMedia.code))
                continue
            if event.traceparent is None and traceparent is not None:
                event = msgspec.structs.replace(event, traceparent=traceparent)
            key, headers = events.event_key(event), record_headers(event.traceparent)
            records.append(OutgoingRecord(topic.name, key=key, value=events.encode(event), headers=headers))
            collection.accepted.append(event.id)
        collection.rejected.sort(key=lambda rejection: rejection.index)
        if records:
            collection.queued = await self._take(records)
        return collection

    def _check(self, raw: bytes | msgspec.Raw, stream: str) -> events.AnyEvent:
        event = events.decode(raw, stream)
        latest = self._clock.now() + self._max_future
        if event.time > latest:
            raise FutureEvent(f"time {event.time.isoformat()} is in the future (at most {latest.isoformat()} now)")
        return event

    async def _missing_media(self, checked: list[events.AnyEvent]) -> set[str]:
        """Return the media ids that the events refer to and the object store does not have."""
        wanted = sorted({media_id for event in checked for media_id in _media_ids(event)})
        slots = asyncio.Semaphore(16)

        async def is_missing(media_id: str) -> bool:
            async with slots:
                return not await self._objects.exists(media_id)

        found = await asyncio.gather(*(is_missing(media_id) for media_id in wanted))
        return {media_id for media_id, absent in zip(wanted, found, strict=True) if absent}

    async def _take(self, records: list[OutgoingRecord]) -> bool:
        """Make the records durable; True when they went to the outbox."""
        if self._clock.monotonic() >= self._unreachable_until:
            try:
                await self._publisher.publish(records, timeout_s=self._publish_timeout_s)
            except Overloaded:
                raise
            except Unavailable:
                self._unreachable_until = self._clock.monotonic() + self._retry_broker_after_s
            else:
                return False
        # Some of them may have reached the broker all the same. Sinks know an event by its id and apply it once.
        await asyncio.to_thread(self._outbox.outbox_add, records)
        return True


def _media_ids(event: events.AnyEvent) -> list[str]:
    match event.data:
        case events.Upload() | events.StreetImage():
            return [event.data.media_id]
        case events.UploadChange() if isinstance(event.data.media_id, str):
            return [event.data.media_id]
        case events.Post():
            return event.data.media_ids
    return []

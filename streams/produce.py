"""Sends events from JSON lines to their topic: validated first, in frames if wanted, an error for each bad line."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from core import topics
from core.errors import InvalidEvent, InvalidInput, NotFound, Overloaded, Unavailable
from core.events import MAX_FRAME_EVENTS, decode, encode, event_key
from core.ports import OutgoingRecord
from storage.log.admin import describe_topics
from storage.log.producer import KafkaPublisher
from streams.partitioning import partition_of

MAX_ERRORS_KEPT = 1_000
FRAME_BYTES = 512 * 1024  # a frame is closed before it comes near a topic's record limit
MAX_OPEN_FRAMES = 256

Progress = Callable[[int, int], None]  # lines read, events sent


@dataclass(frozen=True)
class LineError:
    """A line that was not sent. Lines count from 1."""

    line: int
    code: str
    message: str


@dataclass
class ProduceSummary:
    """What became of the lines. `errors` holds the first thousand of `rejected`."""

    topic: str
    lines: int = 0
    events: int = 0
    records: int = 0
    rejected: int = 0
    undelivered: int = 0
    duration_s: float = 0.0
    errors: list[LineError] = field(default_factory=list)


def produce(
    publisher: KafkaPublisher,
    stream: str,
    lines: Iterable[bytes],
    *,
    frame: int = 1,
    partitions: int | None = None,
    per_s: float | None = None,
    progress: Progress = lambda lines, events: None,
    flush_s: float = 30.0,
) -> ProduceSummary:
    """Send one event a line to the topic of `stream`; empty lines are skipped.

    Args:
        publisher: where to; it is flushed, not closed.
        stream: a key of `core.topics.BY_STREAM`.
        lines: JSON objects, one each, as bytes.
        frame: events in one record. Only events of one partition share a frame, so that each key keeps its order.
        partitions: how many the topic has on the broker (`partition_count`); None: only events of one key share.
        per_s: at most this many events a second.
        progress: called about ten times a second.

    Raises:
        NotFound: there is no such stream. InvalidInput: a frame size out of range.
    """
    if stream not in topics.BY_STREAM:
        raise NotFound(f"there is no stream {stream!r}; streams are {', '.join(topics.BY_STREAM)}")
    if not 1 <= frame <= MAX_FRAME_EVENTS:
        raise InvalidInput(f"a frame holds 1 to {MAX_FRAME_EVENTS} events, not {frame}")
    topic = topics.BY_STREAM[stream]
    summary = ProduceSummary(topic.name)
    failed_before = publisher.stats().failed
    frames: dict[str | int, tuple[str, list[bytes]]] = {}  # by partition, or by key: the first key, the events
    started = shown = time.monotonic()

    def send(place: str | int) -> None:
        key, events = frames.pop(place)
        value = events[0] if len(events) == 1 else b"[" + b",".join(events) + b"]"
        _enqueue(publisher, OutgoingRecord(topic.name, key, value, partition=place if isinstance(place, int) else None))
        summary.records += 1

    for number, line in enumerate(lines, start=1):
        summary.lines = number
        if not line.strip():
            continue
        try:
            event = decode(msgspec.Raw(line.strip()), stream)
            encoded = encode(event)
            if len(encoded) > topic.max_message_bytes // 2:
                raise InvalidEvent(f"an event of {len(encoded)} bytes is too large for {topic.name}")
        except InvalidInput as error:
            summary.rejected += 1
            if len(summary.errors) < MAX_ERRORS_KEPT:
                summary.errors.append(LineError(number, error.code, str(error)))
            continue
        key = event_key(event)
        place = partition_of(key.encode(), partitions) if partitions and frame > 1 else key
        held = frames.setdefault(place, (key, []))[1]
        held.append(encoded)
        summary.events += 1
        if len(held) >= frame or sum(map(len, held)) > FRAME_BYTES:
            send(place)
        elif len(frames) > MAX_OPEN_FRAMES:
            send(next(iter(frames)))  # the one opened first
        now = time.monotonic()
        if per_s is not None and (ahead := summary.events / per_s - (now - started)) > 0:
            time.sleep(ahead)
        if now - shown >= 0.1:
            shown = now
            progress(number, summary.events)
    for place in list(frames):
        send(place)
    summary.undelivered = publisher.flush(flush_s) + publisher.stats().failed - failed_before
    summary.duration_s = time.monotonic() - started
    progress(summary.lines, summary.events)
    return summary


def partition_count(bootstrap: str, stream: str) -> int:
    """Return how many partitions the topic of `stream` has. Raises NotFound, Unavailable."""
    if stream not in topics.BY_STREAM:
        raise NotFound(f"there is no stream {stream!r}; streams are {', '.join(topics.BY_STREAM)}")
    name = topics.BY_STREAM[stream].name
    for topic in describe_topics(bootstrap):
        if topic.name == name:
            return topic.partitions
    raise NotFound(f"{bootstrap} has no topic {name}; `riverlight topics apply` makes it")


def _enqueue(publisher: KafkaPublisher, record: OutgoingRecord) -> None:
    """Queue a record; while the queue is full, wait for room (this is a batch job, not a request)."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            publisher.enqueue(record)
            return
        except Overloaded as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"the broker took nothing for a minute: {error}") from error
            time.sleep(0.005)

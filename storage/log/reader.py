"""Reads a topic from known offsets, without a consumer group: the reader keeps its own place.

An end offset here is what a *fetch* says. The answer to ListOffsets is not trusted: the embedded broker gives the
base offset of the last batch plus one there, so that "latest" is short by the rest of that batch.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import Unavailable
from core.ports import StoredRecord
from storage.log.client import ErrorLog, as_error, client_config, from_exception

_METADATA_TIMEOUT_S = 10.0
_NEW_PARTITIONS_EVERY_S = 30.0
#: How long the broker may hold a fetch for which it has nothing. A record is told at once all the same; that the end is
#: reached is told when the fetch comes back.
_WAIT_MS = 250
_END_WAIT_MS = 10


class LogReader:
    """Reads every partition of one topic. Not thread-safe: one owner polls it.

    Args:
        bootstrap: the broker.
        topic: an existing topic.
        start: the next offset to read, by partition; a partition that is left out is read from its beginning, as is
            one whose offset is no longer (or not yet) in the log: nothing is skipped, and reading again is harmless.

    Raises:
        Unavailable: the broker does not answer, or does not have the topic (yet).
    """

    def __init__(self, bootstrap: str, topic: str, *, start: Mapping[int, int] | None = None) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer = _consumer(bootstrap, topic, _WAIT_MS)
        self._positions: dict[int, int] = {}
        self._at_end: set[int] = set()
        self._next_look = 0.0
        try:
            self._assign_new(_partitions(self._consumer, bootstrap, topic, _METADATA_TIMEOUT_S), start or {})
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        """Return up to `max_records` records, as soon as there is one; an empty list after `timeout_s`.

        Raises:
            Unavailable: the broker refused to go on (a lost connection only shows as silence).
        """
        self._look_for_partitions()
        records: list[StoredRecord] = []
        deadline = time.monotonic() + timeout_s
        while not records:
            # `consume` waits for a full batch or the timeout, which would make every record wait; so wait for one
            # message and then take what else is there.
            first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            if first is None:
                break
            self._take(first, records)
            if max_records > 1:
                for message in self._consumer.consume(max_records - 1, 0):
                    self._take(message, records)
        return records

    def end_offsets(self) -> dict[int, int]:
        """Return the offset after the last record of each partition, now. Opens a connection of its own."""
        return end_offsets(self._bootstrap, self._topic)

    def positions(self) -> dict[int, int]:
        """Return the next offset to read, by partition: what to pass as `start` to go on after what was polled."""
        return dict(self._positions)

    def caught_up(self) -> bool:
        """Tell whether every partition was at its end when last asked."""
        return len(self._at_end) == len(self._positions)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _take(self, message: Message, records: list[StoredRecord]) -> None:
        error = message.error()
        if error is None:
            record = _stored(message)
            self._positions[record.partition] = record.offset + 1
            self._at_end.discard(record.partition)
            records.append(record)
        elif error.code() == KafkaError._PARTITION_EOF:
            partition, offset = _place(message)
            self._positions[partition] = max(self._positions[partition], offset)
            self._at_end.add(partition)
        else:
            raise as_error(error, f"reading {self._topic} from {self._bootstrap}")

    def _look_for_partitions(self) -> None:
        """Read partitions that were added to the topic since, from their beginning."""
        if time.monotonic() < self._next_look:
            return
        try:
            self._assign_new(_partitions(self._consumer, self._bootstrap, self._topic, 1.0), {})
        except Unavailable:
            self._next_look = time.monotonic() + _NEW_PARTITIONS_EVERY_S  # polling goes on; the error log says why

    def _assign_new(self, partitions: list[int], start: Mapping[int, int]) -> None:
        new = [partition for partition in partitions if partition not in self._positions]
        if new:
            self._consumer.incremental_assign(
                [TopicPartition(self._topic, partition, start.get(partition, OFFSET_BEGINNING)) for partition in new]
            )
            self._positions.update({partition: start.get(partition, 0) for partition in new})
        self._next_look = time.monotonic() + _NEW_PARTITIONS_EVERY_S


def read_all(bootstrap: str, topic: str) -> Iterator[StoredRecord]:
    """Return every record of a topic up to the end offsets at the call, in partition order.

    Raises:
        Unavailable: as LogReader, or when the broker stops answering before the end.
    """
    ends = {partition: end for partition, end in end_offsets(bootstrap, topic).items() if end > 0}
    return _read_up_to(bootstrap, topic, ends)


def _read_up_to(bootstrap: str, topic: str, ends: Mapping[int, int]) -> Iterator[StoredRecord]:
    reader = LogReader(bootstrap, topic)
    try:
        silent_since = time.monotonic()
        while any(reader.positions()[partition] < end for partition, end in ends.items()):
            before = reader.positions()
            for record in reader.poll(500, 0.5):
                if record.offset < ends.get(record.partition, 0):
                    yield record
            if reader.positions() != before:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > _METADATA_TIMEOUT_S:
                raise Unavailable(
                    f"{bootstrap} stopped answering while {topic} was read: at {before}, end {dict(ends)}"
                )
    finally:
        reader.close()


def end_offsets(bootstrap: str, topic: str, *, timeout_s: float = _METADATA_TIMEOUT_S) -> dict[int, int]:
    """Return the offset after the last record of each partition, found by fetching (see the module).

    Raises:
        Unavailable: the broker does not answer in time, or does not have the topic.
    """
    reader = EndReader(bootstrap)
    try:
        ends = reader.ends({topic: reader.partitions(topic, timeout_s)}, timeout_s=timeout_s)
        return {partition: end for (_, partition), end in ends.items()}
    finally:
        reader.close()


class EndReader:
    """Asks one broker for end offsets, found by fetching (see the module). Not thread-safe: one owner asks."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer = _consumer(bootstrap, "end", _END_WAIT_MS)

    def partitions(self, topic: str, timeout_s: float) -> list[int]:
        """Return the partitions of a topic. Raises Unavailable."""
        return _partitions(self._consumer, self._bootstrap, topic, timeout_s)

    def ends(
        self, topics: Mapping[str, Sequence[int]], *, timeout_s: float = _METADATA_TIMEOUT_S
    ) -> dict[tuple[str, int], int]:
        """Return the offset after the last record of each partition of each topic, by topic and partition.

        Raises:
            Unavailable: the broker does not answer in time.
        """
        asked = [(topic, partition) for topic, partitions in topics.items() for partition in partitions]
        ends: dict[tuple[str, int], int] = {}
        deadline = time.monotonic() + timeout_s
        self._consumer.assign([TopicPartition(*place, OFFSET_END) for place in asked])
        try:
            while len(ends) < len(asked):
                message = self._consumer.poll(max(0.0, deadline - time.monotonic()))
                if message is None:
                    late = sorted({topic for topic, partition in asked if (topic, partition) not in ends})
                    raise Unavailable(
                        f"{self._bootstrap} did not tell the end of {', '.join(late)} within {timeout_s:g} s"
                    )
                error = message.error()
                if error is None:
                    continue  # the rest of a last batch whose end ListOffsets did not know
                if error.code() != KafkaError._PARTITION_EOF:
                    raise as_error(error, f"asking {self._bootstrap} for the end of {message.topic()}")
                partition, end = _place(message)
                ends[cast(str, message.topic()), partition] = end
        finally:
            self._consumer.unassign()
        return {place: ends[place] for place in asked}

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def _consumer(bootstrap: str, name: str, wait_ms: int) -> Consumer:
    client_id = f"reader-{name}"
    return Consumer(
        {
            **client_config(bootstrap, client_id, ErrorLog(client_id)),
            "group.id": f"riverlight-no-group-{uuid4()}",  # librdkafka wants one; nothing is ever committed to it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": wait_ms,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 16 * 1024,
        }
    )


def _partitions(consumer: Consumer, bootstrap: str, topic: str, timeout_s: float) -> list[int]:
    try:
        metadata = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
    except KafkaException as error:
        raise from_exception(error, f"asking {bootstrap} for the partitions of {topic}") from error
    if metadata.error is not None:
        if metadata.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            raise Unavailable(f"{bootstrap} has no topic {topic}; `riverlight topics apply` makes it")
        raise as_error(metadata.error, f"asking {bootstrap} for the partitions of {topic}")
    return sorted(metadata.partitions)


def _place(message: Message) -> tuple[int, int]:
    """Return partition and offset, which only a message that was never sent does not have."""
    return cast(int, message.partition()), cast(int, message.offset())


def _stored(message: Message) -> StoredRecord:
    partition, offset = _place(message)
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return StoredRecord(
        topic=cast(str, message.topic()),
        partition=partition,
        offset=offset,
        key=(message.key() or b"").decode("utf-8", "replace"),
        value=message.value(),
        headers={name: value or b"" for name, value in headers},
        timestamp_ms=message.timestamp()[1],
    )

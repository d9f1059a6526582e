"""A log of index entries in memory, with partitions, offsets and incarnations: what `IndexFollower` follows."""

import threading
from collections.abc import Mapping

from core.entries import IndexEntry, Version, encode_entry, tombstone_headers
from core.errors import Unavailable
from core.ports import StoredRecord
from core.topics import INDEX_ENTRIES
from serving.following.topic_log import TopicEnd


class MemoryEntryLog:
    """Implements `serving.following.topic_log.TopicLog`. Tests append records, restart it, or make it unreachable."""

    def __init__(self, partitions: int = 2) -> None:
        self.changed = threading.Condition()
        self.reachable = True
        self._incarnation = 1
        self.partitions: list[list[StoredRecord]] = [[] for _ in range(partitions)]

    def epoch(self) -> str:
        if not self.reachable:
            raise Unavailable("the log does not answer")
        return f"incarnation-{self._incarnation}"

    def look(self) -> TopicEnd:
        return TopicEnd(self.epoch(), {number: len(partition) for number, partition in enumerate(self.partitions)})

    def open(self, start: Mapping[int, int]) -> "MemoryEntryReader":
        return MemoryEntryReader(self, dict.fromkeys(range(len(self.partitions)), 0) | dict(start))

    def append(
        self, key: str, value: bytes | None, headers: Mapping[str, bytes] | None = None, timestamp_ms: int = 0
    ) -> None:
        number = sum(key.encode()) % len(self.partitions)
        with self.changed:
            partition = self.partitions[number]
            record = StoredRecord(
                INDEX_ENTRIES.name, number, len(partition), key, value, dict(headers or {}), timestamp_ms
            )
            partition.append(record)
            self.changed.notify_all()

    def put(self, entry: IndexEntry, timestamp_ms: int = 0) -> None:
        self.append(entry.item_id, encode_entry(entry), timestamp_ms=timestamp_ms)

    def delete(self, item_id: str, version: Version, timestamp_ms: int = 0) -> None:
        self.append(item_id, None, tombstone_headers(version), timestamp_ms)

    def restart_empty(self, *, same_name: bool = False) -> None:
        """Lose everything, as a volatile broker does; with `same_name` the incarnation does not tell."""
        with self.changed:
            self.partitions = [[] for _ in self.partitions]
            self._incarnation += 0 if same_name else 1
            self.changed.notify_all()


class MemoryEntryReader:
    def __init__(self, log: MemoryEntryLog, positions: dict[int, int]) -> None:
        self._log = log
        self._positions = positions

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        with self._log.changed:
            if self.caught_up():
                self._log.changed.wait(timeout_s)
            records: list[StoredRecord] = []
            for number, partition in enumerate(self._log.partitions):
                new = partition[self._positions[number] :][: max_records - len(records)]
                self._positions[number] += len(new)
                records += new
            return records

    def positions(self) -> dict[int, int]:
        return dict(self._positions)

    def caught_up(self) -> bool:
        return all(self._positions[number] >= end for number, end in self.end_offsets().items())

    def end_offsets(self) -> dict[int, int]:
        return {number: len(partition) for number, partition in enumerate(self._log.partitions)}

    def close(self) -> None:
        pass

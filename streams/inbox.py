"""Fetched records on their way to an agent: whole fetches of one partition, bounded in records and in bytes."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Stamp = tuple[int, int]  # the group's generation, and how often positions were set back in it
Partition = tuple[str, int]  # topic, number


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition, as the client library fetched them.

    `start` is where the chunk before it ended, so that settled chunks that touch leave no offset out, whatever the
    broker removed in between; `end` is the offset after the last record.
    """

    partition: Partition
    records: Sequence[Any]  # with offset, key, value, headers, timestamp (ms)
    start: int
    end: int
    stamp: Stamp
    bytes: int

    def cut(self, records: int, size: int) -> tuple["Chunk", "Chunk | None"]:
        """Return the first of the records, at most `records` and at least one, and the rest.

        The first part ends with the record that brings it to `size` bytes.
        """
        if len(self.records) <= records and self.bytes < size:
            return self, None
        taken = number = 0
        for record in self.records[:records]:
            taken += len(record.value or b"")
            number += 1
            if taken >= size:
                break
        if number == len(self.records):
            return self, None
        middle = self.records[number].offset
        return (
            Chunk(self.partition, self.records[:number], self.start, middle, self.stamp, taken),
            Chunk(self.partition, self.records[number:], middle, self.end, self.stamp, self.bytes - taken),
        )


class Inbox:
    """A queue of chunks. What is put goes in whatever the bounds; who fetches asks for room first."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._chunks: deque[Chunk] = deque()
        self._records = 0
        self._bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Return how many records wait."""
        return self._records

    def put(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._count(len(chunk.records), chunk.bytes)

    def clear(self) -> None:
        """Drop everything: what was fetched will be fetched again, here or elsewhere."""
        self._chunks.clear()
        self._count(-self._records, -self._bytes)

    def take(self, records: int, size: int) -> list[Chunk]:
        """Return what is there, up to `records` and until `size` bytes are reached; a chunk is cut where it must be."""
        taken: list[Chunk] = []
        while self._chunks and records > 0 and size > 0:
            chunk, rest = self._chunks.popleft().cut(records, size)
            if rest is not None:
                self._chunks.appendleft(rest)
            taken.append(chunk)
            records -= len(chunk.records)
            size -= chunk.bytes
            self._count(-len(chunk.records), -chunk.bytes)
        return taken

    async def wait(self) -> None:
        """Return when there is something."""
        await self._filled.wait()

    async def wait_for_room(self, timeout_s: float) -> bool:
        """Return whether there is room for another fetch, within `timeout_s`."""
        if not self._room.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._room.wait()
            except TimeoutError:
                return False
        return True

    def _count(self, records: int, size: int) -> None:
        self._records += records
        self._bytes += size
        _set(self._filled, bool(self._chunks))
        _set(self._room, self._records < self._max_records and self._bytes < self._max_bytes)


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()

"""The log of index entries, as a follower reads it: without a consumer group, from offsets of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.ports import StoredRecord
from core.topics import INDEX_ENTRIES
from storage.log.admin import topic_epoch
from storage.log.reader import LogReader


class EntryReader(Protocol):
    """What the follower needs of a `LogReader`."""

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]: ...

    def positions(self) -> dict[int, int]: ...

    def caught_up(self) -> bool: ...

    def end_offsets(self) -> dict[int, int]: ...

    def close(self) -> None: ...


class EntryLog(Protocol):
    """The log of index entries: which incarnation it is, and readers of it."""

    def epoch(self) -> str: ...

    def open(self, start: Mapping[int, int]) -> EntryReader: ...


@dataclass(frozen=True)
class KafkaEntryLog:
    """`index.entries.v1` on a broker."""

    bootstrap: str

    def epoch(self) -> str:
        return topic_epoch(self.bootstrap, INDEX_ENTRIES.name)

    def open(self, start: Mapping[int, int]) -> EntryReader:
        return LogReader(self.bootstrap, INDEX_ENTRIES.name, start=start)

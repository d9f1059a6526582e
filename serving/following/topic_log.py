"""The log of one topic, as a follower reads it: without a consumer group, from offsets of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.ports import StoredRecord
from storage.log.admin import topic_epoch
from storage.log.reader import LogReader


class TopicReader(Protocol):
    """What a follower needs of a `LogReader`."""

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]: ...

    def caught_up(self) -> bool: ...

    def end_offsets(self) -> dict[int, int]: ...

    def close(self) -> None: ...


class TopicLog(Protocol):
    """The log of a topic: which incarnation it is, and readers of it."""

    def epoch(self) -> str: ...

    def open(self, start: Mapping[int, int]) -> TopicReader: ...


@dataclass(frozen=True)
class KafkaTopicLog:
    """A topic on a broker."""

    bootstrap: str
    topic: str

    def epoch(self) -> str:
        return topic_epoch(self.bootstrap, self.topic)

    def open(self, start: Mapping[int, int]) -> TopicReader:
        return LogReader(self.bootstrap, self.topic, start=start)

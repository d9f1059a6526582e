"""The log of one topic, as a follower reads it: without a consumer group, from offsets of its own."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.ports import StoredRecord
from storage.log.admin import topic_epoch
from storage.log.observer import LogObserver
from storage.log.reader import LogReader


class TopicReader(Protocol):
    """What a follower needs of a `LogReader`."""

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]: ...

    def caught_up(self) -> bool: ...

    def end_offsets(self) -> dict[int, int]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class TopicEnd:
    """The end of a topic when it was looked at: its incarnation, and the offset after the last record by partition."""

    epoch: str
    ends: Mapping[int, int]


class TopicLog(Protocol):
    """The log of a topic: which incarnation it is, where it ends, and readers of it."""

    def epoch(self) -> str: ...

    def look(self) -> TopicEnd: ...

    def open(self, start: Mapping[int, int]) -> TopicReader: ...


class KafkaLogs:
    """The topics of a broker. What is asked again and again is asked over connections that are kept until `close`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._observer = LogObserver(bootstrap)
        self._looking = threading.Lock()

    def topic(self, name: str) -> "KafkaTopicLog":
        """Return the log of a topic."""
        return KafkaTopicLog(self, name)

    def look(self, topic: str) -> TopicEnd:
        """Return where a topic ends. Raises Unavailable."""
        with self._looking:
            seen = self._observer.look({}, [topic])
        return TopicEnd(seen.epochs[topic], {partition: end for (_, partition), end in seen.ends.items()})

    def close(self) -> None:
        """Leave the broker; whoever looks again connects anew."""
        with self._looking:
            self._observer.close()


@dataclass(frozen=True)
class KafkaTopicLog:
    """A topic on a broker."""

    logs: KafkaLogs
    topic: str

    def epoch(self) -> str:
        return topic_epoch(self.logs.bootstrap, self.topic)

    def look(self) -> TopicEnd:
        return self.logs.look(self.topic)

    def open(self, start: Mapping[int, int]) -> TopicReader:
        return LogReader(self.logs.bootstrap, self.topic, start=start)

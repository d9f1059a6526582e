"""The log of one topic, as a follower reads it: without a consumer group, from offsets of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.topics import BY_STREAM
from serving.entry_log import EntryLog, EntryReader
from storage.log.admin import topic_epoch
from storage.log.reader import LogReader

STREAMS = ("uploads", "users", "interactions")  # that the recommender follows, in the order they are caught up with


@dataclass(frozen=True)
class KafkaTopicLog:
    """A topic on a broker: which incarnation it is, and readers of it."""

    bootstrap: str
    topic: str

    def epoch(self) -> str:
        return topic_epoch(self.bootstrap, self.topic)

    def open(self, start: Mapping[int, int]) -> EntryReader:
        return LogReader(self.bootstrap, self.topic, start=start)


def kafka_logs(bootstrap: str) -> dict[str, EntryLog]:
    """Return the logs that the recommender follows, by stream."""
    return {stream: KafkaTopicLog(bootstrap, BY_STREAM[stream].name) for stream in STREAMS}

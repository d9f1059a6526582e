"""What every `TopicLog` tells, and what its readers read, whatever is behind it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import pytest

from core.errors import Unavailable
from core.ports import OutgoingRecord
from core.settings import BrokerSettings, ProducerSettings
from core.topics import Topic
from serving.following.topic_log import KafkaLogs, TopicEnd, TopicLog, TopicReader
from storage.log.admin import apply_topics
from storage.log.producer import KafkaPublisher
from tests.fakes.entry_log import MemoryEntryLog
from tests.integration.brokers import embedded_bootstrap, kafka_bootstrap

__all__ = ["embedded_bootstrap", "kafka_bootstrap"]

PARTITIONS = 2
Append = Callable[[list[str]], None]


@dataclass
class Case:
    """A log, what appends records with these keys, and a log that nobody can reach or that is not there."""

    log: TopicLog
    append: Append
    absent: TopicLog


def memory() -> Iterator[Case]:
    log, absent = MemoryEntryLog(PARTITIONS), MemoryEntryLog()
    absent.reachable = False

    def append(keys: list[str]) -> None:
        for key in keys:
            log.append(key, key.encode())

    yield Case(log, append, absent)


def kafka(bootstrap: str) -> Iterator[Case]:
    topic = Topic(f"test.{uuid4().hex}", key="k", holds="test records", partitions=PARTITIONS)
    apply_topics(bootstrap, [topic], BrokerSettings())

    def append(keys: list[str]) -> None:
        publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="test")
        for key in keys:
            publisher.enqueue(OutgoingRecord(topic.name, key, key.encode(), {}))
        assert publisher.close() == 0

    with closing(KafkaLogs(bootstrap)) as logs:
        yield Case(logs.topic(topic.name), append, logs.topic("test.no-such-topic"))


@pytest.fixture(
    params=[
        "memory",
        pytest.param("kafka", marks=pytest.mark.integration),
        pytest.param("embedded", marks=pytest.mark.integration),
    ]
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    made = memory() if request.param == "memory" else kafka(request.getfixturevalue(f"{request.param}_bootstrap"))
    yield from made


def drained(reader: TopicReader) -> list[str]:
    keys: list[str] = []
    for _ in range(100):
        if reader.caught_up():
            return keys
        keys += [record.key for record in reader.poll(7, 0.5)]
    raise AssertionError("it did not come to its end")


KEYS = [f"key-{number}" for number in range(50)]


def test_an_empty_log_ends_where_it_begins(case: Case):
    assert case.log.look() == TopicEnd(case.log.epoch(), dict.fromkeys(range(PARTITIONS), 0))


def test_a_look_sees_what_was_appended_since_the_last(case: Case):
    for appended in (KEYS[:20], [], KEYS[20:]):
        before = case.log.look()
        case.append(appended)
        after = case.log.look()
        assert sum(after.ends.values()) - sum(before.ends.values()) == len(appended)
        assert after.epoch == before.epoch


def test_a_reader_meets_every_record_once_and_goes_on_from_where_a_look_saw_the_end(case: Case):
    case.append(KEYS[:30])
    with closing(case.log.open({})) as reader:
        assert sorted(drained(reader)) == sorted(KEYS[:30])
        assert reader.end_offsets() == case.log.look().ends
    end = case.log.look().ends
    case.append(KEYS[30:])
    with closing(case.log.open(end)) as reader:
        assert sorted(drained(reader)) == sorted(KEYS[30:])


def test_a_log_that_is_not_there_is_unavailable_and_others_are_seen_all_the_same(case: Case):
    case.log.look()
    for ask in (case.absent.look, case.absent.epoch):
        with pytest.raises(Unavailable):
            ask()
    assert sum(case.log.look().ends.values()) == 0

"""The log against a real broker: reading, ends, administration, and a broker that comes back empty."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from core import topics
from core.errors import Unavailable
from core.ports import OutgoingRecord
from core.settings import BrokerSettings, ProducerSettings
from core.topics import Topic
from infra.ports import free_port
from storage.log import admin
from storage.log.admin import apply_topics, broker_info, describe_topics, group_lag, topic_epoch, wait_for_broker
from storage.log.asking import open_admin
from storage.log.observer import LogObserver
from storage.log.producer import KafkaPublisher
from storage.log.reader import LogReader, end_offsets, read_all
from tests.integration.brokers import embedded_broker, running

pytestmark = pytest.mark.integration


@pytest.fixture(params=["kafka", "embedded"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Apache Kafka and the embedded broker, each where it can run."""
    return str(request.getfixturevalue(f"{request.param}_bootstrap"))


def new_topic(bootstrap: str, partitions: int = 3, **declared: object) -> str:
    topic = Topic(f"test.{uuid4().hex}", key="k", holds="test records", partitions=partitions, **declared)  # type: ignore[arg-type]
    apply_topics(bootstrap, [topic], BrokerSettings())
    return topic.name


def publish(bootstrap: str, records: list[OutgoingRecord]) -> None:
    publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="test")
    for record in records:
        publisher.enqueue(record)
    assert publisher.close() == 0
    assert publisher.stats().failed == 0


def records_for(topic: str, count: int, first: int = 0) -> list[OutgoingRecord]:
    return [OutgoingRecord(topic, f"key-{n}", str(n).encode(), {"n": b"h"}) for n in range(first, first + count)]


def drain(reader: LogReader) -> list[str]:
    met: list[str] = []
    deadline = time.monotonic() + 20
    while not reader.caught_up():
        assert time.monotonic() < deadline
        met += [record.key for record in reader.poll(7, 0.5)]
    return met


def test_a_reader_meets_every_record_once_and_goes_on_from_its_positions(bootstrap: str) -> None:
    topic = new_topic(bootstrap)
    publish(bootstrap, records_for(topic, 100))
    first = LogReader(bootstrap, topic)
    assert sorted(drain(first)) == sorted(f"key-{n}" for n in range(100))
    assert first.positions() == first.end_offsets()
    publish(bootstrap, records_for(topic, 20, first=100))
    second = LogReader(bootstrap, topic, start=first.positions())
    assert sorted(drain(second)) == sorted(f"key-{n}" for n in range(100, 120))
    first.close()
    second.close()


def test_a_reader_that_is_caught_up_gets_the_next_record_and_is_caught_up_again(bootstrap: str) -> None:
    topic = new_topic(bootstrap)
    reader = LogReader(bootstrap, topic)
    assert drain(reader) == []
    publish(bootstrap, [OutgoingRecord(topic, "gone", None, {"riverlight-version": b"1:2"})])
    (record,) = reader.poll(1, 20)  # one message: the notice that the end is reached is the next
    assert (record.key, record.value, record.headers) == ("gone", None, {"riverlight-version": b"1:2"})
    assert not reader.caught_up()
    assert drain(reader) == []
    reader.close()


def test_the_end_is_exact_after_batches_of_many_records(bootstrap: str) -> None:
    topic = new_topic(bootstrap, partitions=1)
    assert end_offsets(bootstrap, topic) == {0: 0}
    publish(bootstrap, records_for(topic, 500))
    assert end_offsets(bootstrap, topic) == {0: 500}
    assert [record.offset for record in read_all(bootstrap, topic)] == list(range(500))
    assert group_lag(bootstrap, "nobody", [topic]) == {(topic, 0): 500}


def test_an_observer_sees_what_changed_since_it_looked_last(bootstrap: str) -> None:
    one, other = new_topic(bootstrap, partitions=1), new_topic(bootstrap, partitions=2)
    groups = {"reads-both": (one, other), "reads-one": (one,)}
    with closing(LogObserver(bootstrap)) as observer:
        for count in (0, 500, 500):  # also a look at which nothing is new
            publish(bootstrap, records_for(one, count - sum(end_offsets(bootstrap, one).values())))
            seen = observer.look(groups)
            assert seen.ends == {(one, 0): count, (other, 0): 0, (other, 1): 0}
            assert seen.lag == {"reads-both": seen.ends, "reads-one": {(one, 0): count}}
            assert seen.epochs == {topic: topic_epoch(bootstrap, topic) for topic in (one, other)}
        commit(bootstrap, "reads-one", one, 400)
        assert observer.look(groups).lag == {"reads-both": seen.ends, "reads-one": {(one, 0): 100}}


def test_an_observer_goes_on_after_a_topic_was_missing_and_after_it_was_closed(bootstrap: str) -> None:
    topic = new_topic(bootstrap, partitions=1)
    observer = LogObserver(bootstrap)
    with pytest.raises(Unavailable, match=r"no topic test\.no-such-topic; .* makes it"):
        observer.look({"group": ["test.no-such-topic", topic]})
    assert observer.look({"group": [topic]}).ends == {(topic, 0): 0}
    observer.close()
    assert observer.look({"group": [topic]}).ends == {(topic, 0): 0}
    observer.close()


def test_an_observer_sees_partitions_that_were_added_since(bootstrap: str) -> None:
    topic = new_topic(bootstrap, partitions=2)
    with closing(LogObserver(bootstrap)) as observer:
        assert set(observer.look({"group": [topic]}).ends) == {(topic, 0), (topic, 1)}
        apply_topics(bootstrap, [Topic(topic, key="k", holds="test records", partitions=4)], BrokerSettings())
        (found,) = [one for one in describe_topics(bootstrap) if one.name == topic]
        assert set(observer.look({"group": [topic]}).ends) == {(topic, number) for number in range(found.partitions)}


def test_an_observer_keeps_its_clients_until_a_look_fails(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counted(name: str) -> AdminClient:
        opened.append(name)
        return open_admin(name)

    monkeypatch.setattr("storage.log.observer.open_admin", counted)
    topic = new_topic(bootstrap)
    with closing(LogObserver(bootstrap)) as observer:
        for _ in range(3):
            observer.look({"group": [topic]})
        assert len(opened) == 1
        with pytest.raises(Unavailable):
            observer.look({"group": ["test.no-such-topic"]})
        observer.look({"group": [topic]})
        assert len(opened) == 2


def test_topics_are_created_once_and_changed_configuration_is_set(bootstrap: str) -> None:
    name = f"test.{uuid4().hex}"
    declared = Topic(name, key="k", holds="test records", partitions=2, retention_ms=3_600_000)
    (planned,) = apply_topics(bootstrap, [declared], BrokerSettings(), dry_run=True)
    assert planned.action == "created"
    assert name not in [topic.name for topic in describe_topics(bootstrap)]
    actions = [apply_topics(bootstrap, [declared], BrokerSettings())[0].action for _ in range(2)]
    assert actions == ["created", "unchanged"]
    changed = Topic(name, key="k", holds="test records", partitions=2, retention_ms=7_200_000)
    (change,) = apply_topics(bootstrap, [changed], BrokerSettings())
    assert (change.action, change.detail) == ("config", "retention.ms=7200000")
    (found,) = [topic for topic in describe_topics(bootstrap) if topic.name == name]
    assert (found.partitions, found.config["retention.ms"]) == (2, "7200000")


def test_partitions_are_raised_where_the_broker_can_and_never_lowered(bootstrap: str) -> None:
    name = new_topic(bootstrap, partitions=2)
    more = Topic(name, key="k", holds="test records", partitions=4)
    (change,) = apply_topics(bootstrap, [more], BrokerSettings())
    (found,) = [topic for topic in describe_topics(bootstrap) if topic.name == name]
    assert (change.action, found.partitions) in [("partitions", 4), ("kept", 2)]
    fewer = Topic(name, key="k", holds="test records", partitions=1)
    (change,) = apply_topics(bootstrap, [fewer], BrokerSettings())
    assert change.action == "kept" and "cannot go down to 1" in change.detail


@pytest.mark.parametrize("late", [1, 4])
def test_a_broker_that_shows_a_new_topic_late_is_waited_for(
    bootstrap: str, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test.{uuid4().hex}"
    ask, calls = admin.metadata_of, [0]

    def late_list(*given: Any) -> ClusterMetadata:
        metadata, calls[0] = ask(*given), calls[0] + 1
        if calls[0] <= late:
            metadata.topics.pop(name, None)
        return metadata

    monkeypatch.setattr(admin, "metadata_of", late_list)
    (created,) = apply_topics(bootstrap, [Topic(name, key="k", holds="test records")], BrokerSettings())
    assert created.action == "created" and calls[0] > late
    calls[0] = 0  # hidden again: the list says that it is to be made, the broker that it is there
    changed = Topic(name, key="k", holds="test records", retention_ms=7_200_000)
    (change,) = apply_topics(bootstrap, [changed], BrokerSettings())
    assert (change.action, change.detail) == ("config", "retention.ms=7200000")
    (found,) = [topic for topic in describe_topics(bootstrap) if topic.name == name]
    assert found.config["retention.ms"] == "7200000"


def test_a_topic_that_is_not_there_is_unavailable_and_says_what_to_do(bootstrap: str) -> None:
    for ask in (LogReader, topic_epoch, end_offsets):
        with pytest.raises(Unavailable, match="topics apply"):
            ask(bootstrap, "test.no-such-topic")


def commit(bootstrap: str, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    finally:
        consumer.close()


def test_nobody_answering_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no Kafka broker answered"):
        wait_for_broker("127.0.0.1:1", 0.3)


def test_a_broker_tells_who_it_is(bootstrap: str) -> None:
    info = broker_info(bootstrap)
    assert bootstrap in info.brokers.values()


async def test_a_publisher_goes_on_after_a_broker_came_back_without_its_state(tmp_path: Path) -> None:
    broker = embedded_broker(tmp_path, free_port())
    settings = ProducerSettings(delivery_timeout_s=6)
    record = OutgoingRecord(topics.INDEX_ENTRIES.name, "item-1", b"{}")
    with running(broker, tmp_path / "first.log"):
        await asyncio.to_thread(apply_topics, broker.bootstrap, [topics.INDEX_ENTRIES], BrokerSettings())
        epoch = await asyncio.to_thread(topic_epoch, broker.bootstrap, record.topic)
        publisher = KafkaPublisher(broker.bootstrap, settings, client_id="test")
        await publisher.publish([record] * 10)
    with running(broker, tmp_path / "second.log"):
        await asyncio.to_thread(apply_topics, broker.bootstrap, [topics.INDEX_ENTRIES], BrokerSettings())
        assert await asyncio.to_thread(topic_epoch, broker.bootstrap, record.topic) != epoch
        deadline = time.monotonic() + 60
        while True:
            try:
                await publisher.publish([record], timeout_s=5)
                break
            except Unavailable:
                assert time.monotonic() < deadline
        assert len(await asyncio.to_thread(lambda: list(read_all(broker.bootstrap, record.topic)))) >= 1
        await asyncio.to_thread(publisher.close)

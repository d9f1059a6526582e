"""What every Publisher does: the fake, and the Kafka client against a real broker."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from core import topics
from core.errors import InvalidInput, Overloaded, TooLarge, Unavailable
from core.ports import OutgoingRecord, Publisher
from core.settings import BrokerSettings, ProducerSettings
from storage.log.admin import apply_topics
from storage.log.producer import KafkaPublisher
from storage.log.reader import read_all
from tests.fakes.publisher import FakePublisher
from tests.integration.brokers import embedded_bootstrap

__all__ = ["embedded_bootstrap"]

TOPIC = topics.INDEX_ENTRIES.name
QUEUE = 50


class Adapter:
    """A publisher, and what arrived of the keys that start with this test's own mark."""

    def __init__(self, publisher: Publisher, arrived: Callable[[], list[OutgoingRecord]]) -> None:
        self.publisher = publisher
        self.mark = uuid4().hex
        self._arrived = arrived

    def record(self, key: str, value: bytes | None = b"{}", **rest: object) -> OutgoingRecord:
        return OutgoingRecord(TOPIC, f"{self.mark}-{key}", value, **rest)  # type: ignore[arg-type]

    def arrived(self) -> list[OutgoingRecord]:
        return [record for record in self._arrived() if record.key.startswith(self.mark)]


@pytest.fixture(params=["fake", pytest.param("kafka", marks=pytest.mark.integration)])
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    if request.param == "fake":
        fake = FakePublisher(QUEUE)
        yield Adapter(fake, lambda: fake.of(TOPIC))
        return
    bootstrap: str = request.getfixturevalue("embedded_bootstrap")
    apply_topics(bootstrap, [topics.INDEX_ENTRIES], BrokerSettings())
    publisher = KafkaPublisher(bootstrap, ProducerSettings(queue_max_records=QUEUE), client_id="contract")

    def arrived() -> list[OutgoingRecord]:
        return [OutgoingRecord(r.topic, r.key, r.value, r.headers) for r in read_all(bootstrap, TOPIC)]

    yield Adapter(publisher, arrived)
    assert publisher.close() == 0


async def test_what_was_published_has_arrived_when_the_call_returns(adapter: Adapter) -> None:
    records = [adapter.record("a", b'{"x": 1}', headers={"riverlight-version": b"1:\xff"}), adapter.record("b", None)]
    await adapter.publisher.publish(records)
    arrived = await asyncio.to_thread(adapter.arrived)
    assert sorted(arrived, key=lambda record: record.key) == records


async def test_publishing_nothing_is_no_error(adapter: Adapter) -> None:
    await adapter.publisher.publish([])
    assert await asyncio.to_thread(adapter.arrived) == []


async def test_records_of_one_key_keep_their_order(adapter: Adapter) -> None:
    for start in range(0, 60, 20):
        await adapter.publisher.publish(
            [adapter.record("a", str(number).encode()) for number in range(start, start + 20)]
        )
    arrived = await asyncio.to_thread(adapter.arrived)
    assert [int(record.value or b"") for record in arrived] == list(range(60))


async def test_a_record_over_its_topics_limit_is_too_large_and_nothing_of_the_call_is_sent(adapter: Adapter) -> None:
    big = adapter.record("big", bytes(topics.INDEX_ENTRIES.max_message_bytes + 1))
    with pytest.raises(TooLarge):
        await adapter.publisher.publish([adapter.record("small"), big])
    assert await asyncio.to_thread(adapter.arrived) == []


async def test_a_call_that_can_never_fit_the_queue_is_refused_for_good(adapter: Adapter) -> None:
    with pytest.raises(InvalidInput):
        await adapter.publisher.publish([adapter.record(str(number)) for number in range(QUEUE + 1)])
    assert await asyncio.to_thread(adapter.arrived) == []


async def test_calls_at_the_same_time_all_arrive(adapter: Adapter) -> None:
    await asyncio.gather(*(adapter.publisher.publish([adapter.record(str(number))]) for number in range(40)))
    assert len(await asyncio.to_thread(adapter.arrived)) == 40


async def test_a_broker_that_does_not_answer_is_unavailable() -> None:
    fake = FakePublisher()
    fake.down = True
    with pytest.raises(Unavailable):
        await fake.publish([OutgoingRecord(TOPIC, "a", b"")], timeout_s=0.1)
    kafka = KafkaPublisher("127.0.0.1:1", ProducerSettings(delivery_timeout_s=1), client_id="contract")
    with pytest.raises(Unavailable):
        await kafka.publish([OutgoingRecord(TOPIC, "a", b"")], timeout_s=0.1)
    await asyncio.to_thread(kafka.close)


async def test_a_full_queue_is_overloaded_and_takes_nothing_of_the_call() -> None:
    fake = FakePublisher()
    fake.full = True
    with pytest.raises(Overloaded):
        await fake.publish([OutgoingRecord(TOPIC, "a", b"")])
    assert fake.records == []
    settings = ProducerSettings(queue_max_records=3, delivery_timeout_s=1)
    kafka = KafkaPublisher("127.0.0.1:1", settings, client_id="contract")
    kafka.enqueue(OutgoingRecord(TOPIC, "a", b""))
    kafka.enqueue(OutgoingRecord(TOPIC, "b", b""))
    with pytest.raises(Overloaded, match=r"queue_max_records is 3"):
        await kafka.publish([OutgoingRecord(TOPIC, "c", b""), OutgoingRecord(TOPIC, "d", b"")])
    assert kafka.stats().queued == 2
    await asyncio.to_thread(kafka.close)

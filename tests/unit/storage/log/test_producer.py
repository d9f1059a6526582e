"""The publisher beside its contract: counts, closing, partitions, and a client that failed for good."""

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from core import topics
from core.errors import TooLarge, Unavailable
from core.ports import OutgoingRecord
from core.settings import ProducerSettings
from storage.log import producer as module
from storage.log.client import ErrorLog
from storage.log.producer import KafkaPublisher

RECORD = OutgoingRecord(topics.UPLOADS.name, "item-1", b"{}")


class FakeProducer:
    """A librdkafka producer that decides what it is told to, when it is polled."""

    made: list["FakeProducer"]
    reachable = True

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.waiting: list[tuple[dict[str, Any], Any]] = []
        self.produced: list[dict[str, Any]] = []
        self.outcome: KafkaError | None = None
        self.hold = False
        self.closed = False
        self.fail_for_good: KafkaError | None = None
        FakeProducer.made.append(self)

    def produce(self, topic: str, *, on_delivery: Any, **record: Any) -> None:
        if self.closed:
            raise RuntimeError("Producer has been closed")  # as the real one says
        self.produced.append({"topic": topic, **record})
        self.waiting.append((record, on_delivery))

    def poll(self, timeout: float) -> int:
        time.sleep(0.001)
        if self.fail_for_good is not None:
            error, self.fail_for_good = self.fail_for_good, None
            self.config["error_cb"](error)
        if not self.hold:
            decided, self.waiting = self.waiting, []
            for _, on_delivery in decided:
                on_delivery(self.outcome, None)
        return 0

    def purge(self) -> None:
        self.hold = False
        self.outcome = KafkaError(KafkaError._PURGE_QUEUE)

    def close(self) -> bool:
        assert not self.waiting or not self.hold, "it would wait for what is in flight"
        self.poll(0)
        self.closed = True
        return True

    def list_topics(self, timeout: float) -> None:
        if not FakeProducer.reachable:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def __len__(self) -> int:
        return len(self.waiting)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    FakeProducer.made = []
    monkeypatch.setattr(module, "Producer", FakeProducer)
    return FakeProducer.made


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_client_is_asked_for_acknowledgements_by_all_and_javas_partitions(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    publisher.close()
    config = made[0].config
    assert (config["acks"], config["enable.idempotence"], config["partitioner"]) == ("all", True, "murmur2_random")
    assert config["reconnect.backoff.max.ms"] == 10_000
    assert config["message.max.bytes"] > max(topic.max_message_bytes for topic in topics.ALL)


async def test_delivered_and_failed_records_are_counted_and_failures_are_raised(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    await publisher.publish([RECORD, RECORD])
    made[0].outcome = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(Unavailable, match="_MSG_TIMED_OUT"):
        await publisher.publish([RECORD])
    made[0].outcome = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(TooLarge):
        await publisher.publish([RECORD])
    stats = publisher.stats()
    assert (stats.delivered, stats.failed, stats.queued) == (2, 2, 0)
    publisher.close()


async def test_acknowledgements_after_the_timeout_are_still_counted(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    made[0].hold = True
    with pytest.raises(Unavailable, match="1 of 1 records were not acknowledged by host:1 within"):
        await publisher.publish([RECORD], timeout_s=0.05)
    assert publisher.stats().queued == 1
    made[0].hold = False
    assert await asyncio.to_thread(publisher.flush, 10) == 0
    assert publisher.stats().delivered == 1
    publisher.close()


def test_flush_and_close_tell_how_many_are_left_and_close_logs_it(
    made: list[FakeProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProducer, "reachable", False)
    publisher = KafkaPublisher("host:1", ProducerSettings(delivery_timeout_s=0.05), client_id="test")
    made[0].hold = True
    publisher.enqueue(RECORD)
    assert publisher.flush(0.01) == 1
    with capture_logs() as logs:
        assert publisher.close() == 1
    assert [(log["log_level"], log["undelivered"]) for log in logs] == [("error", 1)]
    with pytest.raises(Unavailable, match="closed"):
        publisher.enqueue(RECORD)
    assert publisher.close() == 0


def test_a_partition_that_is_given_is_kept_and_one_that_is_not_is_left_to_the_key(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    publisher.enqueue(OutgoingRecord("topic", "key", b"", partition=3))
    publisher.enqueue(OutgoingRecord("topic", "key", b""))
    publisher.close()
    assert [record["partition"] for record in made[0].produced] == [3, -1]


@pytest.mark.parametrize(("topic", "limit"), [(topics.UPLOADS.name, 1), (topics.UPLOADS.dlq, 2), ("undeclared", 1)])
def test_each_topic_has_its_own_size_limit_headers_and_key_included(
    made: list[FakeProducer], topic: str, limit: int
) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    size = limit * 1024 * 1024
    publisher.enqueue(OutgoingRecord(topic, "key", bytes(size - 1024)))
    with pytest.raises(TooLarge, match=topic):
        publisher.enqueue(OutgoingRecord(topic, "key", bytes(size)))
    with pytest.raises(TooLarge, match=topic):
        publisher.enqueue(OutgoingRecord(topic, "key", bytes(size - 1024), {"header": bytes(1024)}))
    assert publisher.close() == 0
    assert publisher.stats().delivered == 1


def test_a_producer_that_failed_for_good_is_replaced_and_its_records_fail(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    made[0].hold = True
    publisher.enqueue(RECORD)
    with capture_logs() as logs:
        made[0].fail_for_good = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "forgotten", True)
        wait_until(lambda: len(made) == 2 and publisher.stats().failed == 1)
    assert "producer failed for good and was replaced" in [log["event"] for log in logs]
    assert made[1].config["enable.idempotence"] is True
    wait_until(lambda: made[0].closed)
    publisher.enqueue(RECORD)
    assert publisher.close() == 0
    assert publisher.stats().delivered == 1


def test_a_record_that_meets_a_client_being_replaced_is_refused_and_leaves_no_trace(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    made[0].closed = True  # replaced after `enqueue` has looked, closed before it calls
    with pytest.raises(Unavailable, match="just replaced"):
        publisher.enqueue(RECORD)
    assert publisher.stats().queued == 0
    made[0].closed = False
    publisher.close()
    assert made[0].closed


def test_a_broker_that_answers_but_acknowledges_nothing_gets_a_new_producer(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(delivery_timeout_s=0.06), client_id="test")
    made[0].hold = True
    publisher.enqueue(RECORD)
    wait_until(lambda: len(made) == 2 and publisher.stats().failed == 1)
    publisher.enqueue(RECORD)
    assert publisher.close() == 0
    assert publisher.stats().delivered == 1


def test_a_broker_that_is_away_is_waited_for(made: list[FakeProducer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeProducer, "reachable", False)
    publisher = KafkaPublisher("host:1", ProducerSettings(delivery_timeout_s=0.06), client_id="test")
    made[0].hold = True
    publisher.enqueue(RECORD)
    assert publisher.flush(0.3) == 1
    made[0].hold = False
    assert publisher.close() == 0
    assert len(made) == 1
    assert publisher.stats().delivered == 1


def test_a_broker_without_idempotence_is_used_without_and_the_log_says_so(made: list[FakeProducer]) -> None:
    publisher = KafkaPublisher("host:1", ProducerSettings(), client_id="test")
    assert publisher.idempotent
    with capture_logs() as logs:
        made[0].fail_for_good = KafkaError(
            KafkaError._UNSUPPORTED_FEATURE, "Idempotent producer not supported by any of the 1 broker(s)", True
        )
        wait_until(lambda: len(made) == 2)
        publisher.close()
    assert not publisher.idempotent
    assert made[1].config["enable.idempotence"] is False
    assert any(log["log_level"] == "error" and "does not support idempotent" in log["event"] for log in logs)


def test_idempotence_can_be_switched_off(made: list[FakeProducer]) -> None:
    KafkaPublisher("host:1", ProducerSettings(), client_id="test", idempotence=False).close()
    assert made[0].config["enable.idempotence"] is False


def test_errors_that_repeat_are_logged_once_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("storage.log.client.time.monotonic", lambda: now[0])
    errors = ErrorLog("test")
    with capture_logs() as logs:
        for _ in range(500):
            errors(KafkaError(KafkaError._TRANSPORT, "refused"))
        errors(KafkaError(KafkaError._ALL_BROKERS_DOWN, "all down"))
        now[0] = 31.0
        errors(KafkaError(KafkaError._TRANSPORT, "refused"))
    assert [(log["kind"], log["repeats_left_out"]) for log in logs] == [
        ("_TRANSPORT", 0),
        ("_ALL_BROKERS_DOWN", 0),
        ("_TRANSPORT", 499),
    ]

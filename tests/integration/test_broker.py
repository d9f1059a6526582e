"""The brokers that we start: they answer, keep (or forget) data, and stop."""

import time
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from core.errors import Unavailable
from infra.broker.probe import ask
from infra.broker.selection import LocalBroker
from infra.ports import free_port
from tests.integration.brokers import embedded_broker, kafka_broker, running

pytestmark = pytest.mark.integration


def _write_acknowledged(bootstrap: str, topic: str, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for number in range(count):
        producer.produce(topic, str(number).encode(), on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(20) == 0
    assert failures == [None] * count


def _topics(bootstrap: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def _end_offset(bootstrap: str, topic: str) -> int:
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    not_yet = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    consumer, deadline = Consumer({"bootstrap.servers": bootstrap, "group.id": "offsets"}), time.monotonic() + 20
    try:
        while True:
            try:
                return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]
            except KafkaException as error:  # a broker answers a moment before it leads its partitions again
                if error.args[0].code() not in not_yet or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    finally:
        consumer.close()


@pytest.mark.kafka
def test_kafka_keeps_acknowledged_records_through_a_kill_and_a_clean_stop(tmp_path: Path) -> None:
    port = free_port()
    with running(kafka_broker(tmp_path, port), tmp_path / "first.log") as process:
        _write_acknowledged(f"127.0.0.1:{port}", "events", 50)
        process.kill()
        process.wait()
    with running(kafka_broker(tmp_path, port), tmp_path / "second.log") as process:
        assert _end_offset(f"127.0.0.1:{port}", "events") == 50
    assert process.returncode == 143  # SIGTERM, as a Java virtual machine reports a clean stop
    with running(kafka_broker(tmp_path, port), tmp_path / "third.log"):
        assert _end_offset(f"127.0.0.1:{port}", "events") == 50


def test_the_embedded_broker_forgets_its_topics_at_a_restart(tmp_path: Path) -> None:
    port = free_port()
    with running(embedded_broker(tmp_path, port), tmp_path / "first.log"):
        _write_acknowledged(f"127.0.0.1:{port}", "events", 3)
    with running(embedded_broker(tmp_path, port), tmp_path / "second.log"):
        assert "events" not in _topics(f"127.0.0.1:{port}")


@pytest.mark.parametrize("make", [pytest.param(kafka_broker, marks=pytest.mark.kafka), embedded_broker])
def test_a_broker_listens_on_loopback_only_and_is_gone_after_its_stop(make: object, tmp_path: Path) -> None:
    broker: LocalBroker = make(tmp_path)  # type: ignore[operator]
    with running(broker, tmp_path / "broker.log") as process:
        sockets = [c for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert sockets
        assert {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets} == {"127.0.0.1"}
    with pytest.raises(Unavailable, match="no broker answers"):
        ask(broker.bootstrap)


def test_both_clients_see_the_session_broker(broker_bootstrap: str) -> None:
    assert ask(broker_bootstrap).brokers == (broker_bootstrap,)
    assert isinstance(_topics(broker_bootstrap), set)

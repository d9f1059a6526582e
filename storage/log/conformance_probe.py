"""The few operations that the conformance checks are made of, over one broker."""

import time
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

PREFIX = "riverlight-conformance"
WAIT_S = 10.0

Config = Mapping[str, Any]  # librdkafka settings
_NONE: Config = MappingProxyType({})


class Differs(Exception):
    """The broker answered, but not as Apache Kafka would."""


class Probe:
    """One broker under examination, with the few operations that the checks are made of."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient(self._config())
        self._topics: list[str] = []

    def _config(self, more: Config = _NONE) -> dict[str, Any]:
        quiet = {"log_level": 0, "error_cb": lambda error: None}
        return {"bootstrap.servers": self.bootstrap, "socket.timeout.ms": 10_000, **quiet, **more}

    def name(self) -> str:
        """Return a topic name that no other run uses; it is deleted at the end."""
        self._topics.append(f"{PREFIX}.{uuid.uuid4().hex[:12]}")
        return self._topics[-1]

    def group(self) -> str:
        """Return a group name that no other run uses."""
        return f"{PREFIX}.{uuid.uuid4().hex[:12]}"

    def topic(self, partitions: int = 1, name: str = "", **config: str) -> str:
        """Create a topic (under a name of its own, unless one is given) and wait until it can be used."""
        name = name or self.name()
        dotted = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=dotted)])[name].result(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while len(self.admin.list_topics(name, timeout=WAIT_S).topics[name].partitions) != partitions:
            if time.monotonic() > deadline:
                raise Differs("the topic did not get its partitions")
            time.sleep(0.05)
        return name

    def send(self, topic: str, values: Sequence[bytes | None], config: Config = _NONE) -> list[Message]:
        """Send to partition 0 in one batch and return the acknowledged messages."""
        done: list[Message] = []
        failed: list[str] = []

        def delivered(error: Any, message: Message) -> None:
            if error:
                failed.append(error.str())
            else:
                done.append(message)

        settings = {"acks": "all", "linger.ms": 50, "message.timeout.ms": 10_000, "message.max.bytes": 8_000_000}
        producer = Producer(self._config({**settings, **config}))
        for number, value in enumerate(values):
            producer.produce(topic, value, key=str(number), headers=[("n", str(number).encode())], partition=0,
                             on_delivery=delivered)  # fmt: skip
        if left := producer.flush(WAIT_S + 5):
            raise Differs(f"{left} records were neither acknowledged nor refused")
        if failed:
            raise Differs(f"{len(failed)} of {len(values)} records refused: {failed[0]}")
        return done

    def transactional(self) -> Producer:
        producer = Producer(self._config({"transactional.id": uuid.uuid4().hex, "transaction.timeout.ms": 10_000}))
        producer.init_transactions(WAIT_S)
        return producer

    def consumer(self, group: str = "", config: Config = _NONE) -> Consumer:
        settings = {
            "group.id": group or self.group(),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 500,
            "fetch.wait.max.ms": 100,
        }
        return Consumer(self._config({**settings, **config}))

    def read(
        self, topic: str, count: int, start: int = 0, wait_s: float = WAIT_S, config: Config = _NONE
    ) -> list[Message]:
        """Return up to `count` messages of partition 0 from offset `start`."""
        consumer = self.consumer(config=config)
        try:
            consumer.assign([TopicPartition(topic, 0, start)])
            return poll_messages(consumer, count, wait_s)
        finally:
            consumer.close()

    def offset(self, topic: str, spec: OffsetSpec) -> int:
        place = TopicPartition(topic, 0)
        answer = self.admin.list_offsets({place: spec})[place].result(WAIT_S)
        return int(answer.offset)

    def close(self) -> None:
        if not self._topics:
            return
        for future in self.admin.delete_topics(self._topics, operation_timeout=5).values():
            future.exception(WAIT_S)


def poll_messages(consumer: Consumer, count: int, wait_s: float) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + wait_s
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(message)
    return found

"""The conformance checks: each is one promise of Apache Kafka, put to the test."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from storage.log.conformance_probe import WAIT_S, Differs, Probe, poll_messages


@dataclass(frozen=True)
class Check:
    name: str
    promise: str
    run: Callable[[Probe], None]


CHECKS: list[Check] = []


def _check(name: str, promise: str) -> Callable[[Callable[[Probe], None]], Callable[[Probe], None]]:
    def add(function: Callable[[Probe], None]) -> Callable[[Probe], None]:
        CHECKS.append(Check(name, promise, function))
        return function

    return add


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise Differs(f"{what}: expected {expected!r}, found {found!r}")


def _numbers(count: int) -> list[bytes | None]:
    return [str(number).encode() for number in range(count)]


@_check("create-topic", "a topic gets the partitions asked for")
def _create_topic(probe: Probe) -> None:
    probe.topic(partitions=3)


@_check("topic-config", "a topic's clean-up policy and retention are kept and shown")
def _topic_config(probe: Probe) -> None:
    topic = probe.topic(cleanup_policy="compact", retention_ms="60000")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = probe.admin.describe_configs([resource])[resource].result(WAIT_S)
    for key, value in (("cleanup.policy", "compact"), ("retention.ms", "60000")):
        _expect(key, value, config[key].value if key in config else None)


@_check("add-partitions", "partitions can be added to a topic")
def _add_partitions(probe: Probe) -> None:
    topic = probe.topic(partitions=1)
    probe.admin.create_partitions([NewPartitions(topic, 3)])[topic].result(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while (found := len(probe.admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions)) != 3:
        if time.monotonic() > deadline:
            raise Differs(f"3 partitions wanted, {found} found")
        time.sleep(0.1)


@_check("unknown-topic", "writing to an undeclared topic does not create it")
def _unknown_topic(probe: Probe) -> None:
    name = probe.name()
    try:
        probe.send(name, [b"x"], config={"message.timeout.ms": 3000})
    except Differs:
        return
    raise Differs("the record was accepted and the topic created")


@_check("topic-id", "a topic that is deleted and made again has another id, so old offsets are noticed")
def _topic_id(probe: Probe) -> None:
    def identity(topic: str) -> str:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return str(probe.admin.describe_topics(TopicCollection([topic]))[topic].result(WAIT_S).topic_id)
            except KafkaException:  # made, but not yet known everywhere
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    topic = probe.topic()
    first = identity(topic)
    probe.admin.delete_topics([topic], operation_timeout=5)[topic].result(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            probe.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(WAIT_S)
            break
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    if identity(topic) == first:
        raise Differs(f"the id is {first} both times")


@_check("round-trip", "key, value, header, timestamp and order come back as sent")
def _round_trip(probe: Probe) -> None:
    topic = probe.topic()
    probe.send(topic, _numbers(20))
    found = probe.read(topic, 20)
    _expect("values", _numbers(20), [message.value() for message in found])
    _expect("header", [("n", b"7")], found[7].headers())
    _expect("key", b"7", found[7].key())
    _expect("offsets", list(range(20)), [message.offset() for message in found])
    if abs(found[0].timestamp()[1] / 1000 - time.time()) > 60:
        raise Differs(f"timestamp {found[0].timestamp()}")


@_check("tombstone", "a null value stays null")
def _tombstone(probe: Probe) -> None:
    topic = probe.topic(cleanup_policy="compact")
    probe.send(topic, [b"there", None])
    _expect("values", [b"there", None], [message.value() for message in probe.read(topic, 2)])


@_check("large-record", "a record of 1 MB is stored")
def _large_record(probe: Probe) -> None:
    topic = probe.topic(max_message_bytes="2000000")
    probe.send(topic, [b"x" * 1_000_000])
    _expect("size", [1_000_000], [len(message.value() or b"") for message in probe.read(topic, 1)])


@_check("size-limit", "a record over the topic's limit is refused")
def _size_limit(probe: Probe) -> None:
    topic = probe.topic(max_message_bytes="10000")
    try:
        probe.send(topic, [b"x" * 100_000])
    except Differs as refused:
        if "neither" in str(refused):
            raise
        return
    raise Differs("100 kB were accepted by a topic limited to 10 kB")


@_check("compression", "gzip, snappy, lz4 and zstd batches are stored and read")
def _compression(probe: Probe) -> None:
    topic = probe.topic()
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        probe.send(topic, [codec.encode() * 50] * 5, config={"compression.type": codec})
    _expect("records", 20, len(probe.read(topic, 20)))


@_check("mid-batch-fetch", "reading from an offset inside a batch begins exactly there")
def _mid_batch(probe: Probe) -> None:
    topic = probe.topic()
    probe.send(topic, _numbers(10))
    found = probe.read(topic, 5, start=5)
    _expect("offsets", [5, 6, 7, 8, 9], [message.offset() for message in found])


@_check("end-offset", "ListOffsets(latest) is the last offset plus one, whatever the batches were")
def _end_offset(probe: Probe) -> None:
    topic = probe.topic()
    for sent in (10, 20, 30):
        probe.send(topic, _numbers(10))
        _expect(f"end after {sent} records", sent, probe.offset(topic, OffsetSpec.latest()))


@_check("start-offset", "ListOffsets(earliest) is the first offset")
def _start_offset(probe: Probe) -> None:
    topic = probe.topic()
    _expect("start of an empty topic", 0, probe.offset(topic, OffsetSpec.earliest()))
    probe.send(topic, _numbers(3))
    _expect("start", 0, probe.offset(topic, OffsetSpec.earliest()))


@_check("offset-by-time", "ListOffsets(timestamp) finds the first record at or after a time")
def _offset_by_time(probe: Probe) -> None:
    topic = probe.topic()
    probe.send(topic, _numbers(5))
    time.sleep(0.05)
    between = int(time.time() * 1000)
    time.sleep(0.05)
    probe.send(topic, _numbers(5))
    _expect("offset", 5, probe.offset(topic, OffsetSpec.for_timestamp(between)))


@_check("long-poll", "a waiting consumer gets a new record at once, not at its next request")
def _longpoll_messages(probe: Probe) -> None:
    topic = probe.topic()
    consumer = probe.consumer(config={"fetch.wait.max.ms": 5000})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        poll_messages(consumer, 1, 1.0)  # the fetch is waiting at the broker now
        probe.send(topic, [b"now"], config={"linger.ms": 0})
        began = time.monotonic()
        if not poll_messages(consumer, 1, 8.0):
            raise Differs("the record did not arrive")
        if (waited := time.monotonic() - began) > 1.5:
            raise Differs(f"the record arrived {waited:.1f} s after its acknowledgement")
    finally:
        consumer.close()


@_check("commit", "a group's committed offset is read back by its next member, which goes on there")
def _commit(probe: Probe) -> None:
    topic, group = probe.topic(), probe.group()
    probe.send(topic, _numbers(10))
    first = probe.consumer(group)
    first.subscribe([topic])
    _expect("records before", 4, len(poll_messages(first, 4, WAIT_S)))
    first.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    first.close()
    second = probe.consumer(group)
    try:
        committed = second.committed([TopicPartition(topic, 0)], timeout=WAIT_S)[0].offset
        _expect("committed", 4, committed)
        second.subscribe([topic])
        _expect("goes on at", [4], [message.offset() for message in poll_messages(second, 1, WAIT_S)])
    finally:
        second.close()


@_check("group-start", "the first member of a new group gets its partitions within 3 s")
def _group_start(probe: Probe) -> None:
    topic = probe.topic()
    probe.send(topic, [b"x"])
    consumer = probe.consumer()
    try:
        began = time.monotonic()
        consumer.subscribe([topic])
        _expect("records", 1, len(poll_messages(consumer, 1, WAIT_S)))
        if (took := time.monotonic() - began) > 3:
            raise Differs(f"it took {took:.1f} s")
    finally:
        consumer.close()


@_check("rebalance", "a second member takes half of the partitions; when it leaves, the first has all again")
def _rebalance(probe: Probe) -> None:
    topic, group = probe.topic(partitions=4), probe.group()
    members = [probe.consumer(group), probe.consumer(group)]

    def assigned(*wanted: int) -> None:
        deadline = time.monotonic() + 20
        while True:
            for member in members[: len(wanted)]:
                member.poll(0.05)
            found = tuple(len(member.assignment()) for member in members[: len(wanted)])
            if found == wanted:
                return
            if time.monotonic() > deadline:
                raise Differs(f"partitions of the members: expected {wanted}, found {found}")

    try:
        members[0].subscribe([topic])
        assigned(4)
        members[1].subscribe([topic])
        assigned(2, 2)
        members.pop().close()
        assigned(4)
    finally:
        for member in members:
            member.close()


@_check("cooperative", "partitions move one by one under the cooperative-sticky assignor")
def _cooperative(probe: Probe) -> None:
    topic = probe.topic(partitions=2)
    consumer = probe.consumer(config={"partition.assignment.strategy": "cooperative-sticky"})
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + WAIT_S
        while len(consumer.assignment()) != 2:
            consumer.poll(0.1)
            if time.monotonic() > deadline:
                raise Differs(f"{len(consumer.assignment())} of 2 partitions assigned")
    finally:
        consumer.close()


@_check("fenced-commit", "a commit by a member that is no longer in the group is refused")
def _fenced_commit(probe: Probe) -> None:
    topic, group = probe.topic(), probe.group()
    member = probe.consumer(group)
    stranger = probe.consumer(group)
    try:
        member.subscribe([topic])
        deadline = time.monotonic() + WAIT_S
        while not member.assignment() and time.monotonic() < deadline:
            member.poll(0.1)
        try:
            stranger.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        except KafkaException:
            return
        raise Differs("a commit without membership was accepted while the group had a member")
    finally:
        member.close()
        stranger.close()


@_check("idempotent-producer", "a producer with idempotence gets an id, and its records arrive once and in order")
def _idempotent(probe: Probe) -> None:
    topic = probe.topic()
    probe.send(topic, _numbers(50), config={"enable.idempotence": True})
    _expect("values", _numbers(50), [message.value() for message in probe.read(topic, 50)])


@_check("transaction-commit", "committed transactions are read by read_committed consumers")
def _transaction_commit(probe: Probe) -> None:
    topic = probe.topic()
    producer = probe.transactional()
    producer.begin_transaction()
    for value in _numbers(5):
        producer.produce(topic, value, partition=0)
    producer.commit_transaction(WAIT_S)
    found = probe.read(topic, 5, config={"isolation.level": "read_committed"})
    _expect("values", _numbers(5), [message.value() for message in found])


@_check("transaction-abort", "aborted transactions are not read by read_committed consumers")
def _transaction_abort(probe: Probe) -> None:
    topic = probe.topic()
    producer = probe.transactional()
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=0)
    producer.flush(WAIT_S)
    producer.abort_transaction(WAIT_S)
    probe.send(topic, [b"kept"])
    found = probe.read(topic, 2, wait_s=4.0, config={"isolation.level": "read_committed"})
    _expect("values", [b"kept"], [message.value() for message in found])


@_check("transaction-offsets", "offsets are committed within a transaction")
def _transaction_offsets(probe: Probe) -> None:
    topic, group = probe.topic(), probe.group()
    probe.send(topic, _numbers(3))
    consumer = probe.consumer(group)
    try:
        consumer.subscribe([topic])
        _expect("records", 3, len(poll_messages(consumer, 3, WAIT_S)))
        producer = probe.transactional()
        producer.begin_transaction()
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], consumer.consumer_group_metadata(), WAIT_S)
        producer.commit_transaction(WAIT_S)
        _expect("committed", 3, consumer.committed([TopicPartition(topic, 0)], timeout=WAIT_S)[0].offset)
    finally:
        consumer.close()


@_check("aiokafka", "the client under Faust writes, reads in a group, commits and finds the end")
def _aiokafka(probe: Probe) -> None:
    topic = probe.topic()

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=probe.bootstrap, acks="all", linger_ms=20) as producer:
            await asyncio.gather(*[await producer.send(topic, value, partition=0) for value in _numbers(10)])
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=probe.bootstrap,
            group_id=probe.group(),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        async with consumer:
            found = [(await asyncio.wait_for(consumer.getone(), WAIT_S)).value for _ in range(10)]
            _expect("values", _numbers(10), found)
            await consumer.commit()
            place = next(iter(consumer.assignment()))
            _expect("committed", 10, await consumer.committed(place))
            _expect("end", 10, (await consumer.end_offsets([place]))[place])

    asyncio.run(asyncio.wait_for(run(), 30))

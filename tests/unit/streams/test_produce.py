from datetime import UTC, datetime

import pytest

from core.errors import InvalidInput, NotFound
from core.events import Click, Interaction, decode, encode, split_record
from core.ports import OutgoingRecord
from storage.log.producer import ProducerStats
from streams.partitioning import murmur2, partition_of
from streams.produce import produce


class QueuePublisher:
    """The synchronous side of the publisher, in memory."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    def enqueue(self, record: OutgoingRecord) -> None:
        self.records.append(record)

    def flush(self, timeout_s: float) -> int:
        return 0

    def stats(self) -> ProducerStats:
        return ProducerStats(len(self.records), 0, 0)


def click(number: int, user: str) -> bytes:
    data = Interaction(user_id=user, item_id="i")
    return encode(Click(id=f"e{number}", source="t", time=datetime(2026, 1, 1, tzinfo=UTC), subject=user, data=data))


def test_bad_lines_are_reported_by_number_and_the_others_are_sent():
    publisher = QueuePublisher()
    lines = [click(1, "u"), b"not json\n", b"\n", b'{"id": "x"}', click(2, "u") + b"\r\n"]
    summary = produce(publisher, "interactions", lines)
    assert (summary.lines, summary.events, summary.records, summary.rejected) == (5, 2, 2, 2)
    assert [(error.line, error.code) for error in summary.errors] == [(2, "invalid-event"), (4, "invalid-event")]
    assert [record.key for record in publisher.records] == ["u", "u"]


def test_frames_hold_events_of_one_partition_in_their_order():
    publisher = QueuePublisher()
    lines = [click(number, f"user-{number % 50}") for number in range(1000)]
    summary = produce(publisher, "interactions", lines, frame=100, partitions=4)
    assert summary.events == 1000
    assert summary.records <= 14
    order: dict[str, list[int]] = {}
    for record in publisher.records:
        for part in split_record(record.value):
            event = decode(part, "interactions")
            assert partition_of(event.subject.encode(), 4) == record.partition
            order.setdefault(event.subject, []).append(int(event.id[1:]))
    assert sum(map(len, order.values())) == 1000
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_without_a_partition_count_only_events_of_one_key_share_a_frame():
    publisher = QueuePublisher()
    produce(publisher, "interactions", [click(number, f"u{number % 3}") for number in range(30)], frame=100)
    assert sorted(record.key for record in publisher.records) == ["u0", "u1", "u2"]
    assert {record.partition for record in publisher.records} == {None}


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_the_hash_is_the_one_of_the_java_client(key, value):
    assert murmur2(key) == value & 0xFFFFFFFF  # from Kafka's UtilsTest.testMurmur2


def test_an_unknown_stream_or_frame_size_is_refused():
    with pytest.raises(NotFound):
        produce(QueuePublisher(), "nothing", [])
    with pytest.raises(InvalidInput):
        produce(QueuePublisher(), "interactions", [], frame=0)

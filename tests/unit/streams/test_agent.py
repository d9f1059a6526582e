"""The pump between the inbox and a processor, with a stand-in for the consumer: what is settled, and when."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from core.ports import StoredRecord
from streams.agent import EXIT_RESTART, Pump
from streams.envelope import Abandoned, DeadLetterNotWritten
from streams.inbox import Chunk, Inbox

MIB = 1024 * 1024


def record(offset: int, size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        topic="t", partition=0, offset=offset, key=b"k", value=b"x" * size, headers=(("h", b"1"),), timestamp=1500
    )


def chunk(*offsets: int, generation: int = 1, size: int = 1) -> Chunk:
    records = [record(offset, size) for offset in offsets]
    return Chunk(("t", 0), records, offsets[0], offsets[-1] + 1, (generation, 0), size * len(records))


class Consumer:
    """What the pump needs of a BatchConsumer."""

    def __init__(self) -> None:
        self.stamp = (1, 0)
        self.flowing = True
        self.settled: list[int] = []
        self.refetched: list[int] = []
        self.asked = 0

    def owns(self, stamp: tuple[int, int]) -> bool:
        self.asked += 1
        return self.flowing and stamp == self.stamp

    def refetch(self, chunks: Sequence[Chunk]) -> None:
        self.refetched += [chunk.start for chunk in chunks]

    def settle(self, chunks: Sequence[Chunk]) -> None:
        self.settled += [record.offset for chunk in chunks if chunk.stamp == self.stamp for record in chunk.records]


class Processor:
    waiting_for = ""

    def __init__(self) -> None:
        self.batches: list[list[StoredRecord]] = []
        self.hook: Callable[[], object] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        self.batches.append(list(records))
        await self.gate.wait()
        self.hook()
        if not owned():
            raise Abandoned("not ours")


class Sided(Processor):
    """Works on several batches side by side; each ends when the test says so, by its first offset."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[int, asyncio.Event] = {}
        self.errors: dict[int, BaseException] = {}
        self.cancelled: list[int] = []

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        first = records[0].offset
        self.batches.append(list(records))
        self.ends[first] = asyncio.Event()
        try:
            await self.ends[first].wait()
        except asyncio.CancelledError:
            self.cancelled.append(first)
            raise
        if first in self.errors:
            raise self.errors[first]


class Rig:
    def __init__(self, batch_size: int = 10, at_once: int = 1) -> None:
        self.consumer = Consumer()
        self.processor: Processor = Processor() if at_once == 1 else Sided()
        self.exits: list[int] = []
        self.inbox = Inbox(1000, 100 * MIB)
        self.pump = Pump(
            SimpleNamespace(consumer=self.consumer), "agent", self.processor, self.inbox, topics=["t"],
            batch_size=batch_size, within_s=0.01, at_once=at_once, exit_process=self.exits.append,
        )  # fmt: skip
        self.task = asyncio.create_task(self.pump.run())

    def put(self, *chunks: Chunk) -> None:
        for one in chunks:
            self.inbox.put(one)


@pytest.fixture
async def sides():
    """A pump with up to three batches of one record under way."""
    made = Rig(batch_size=1, at_once=3)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.fixture
async def rig():
    made = Rig()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_a_batch_is_settled_after_the_processor_returned_and_not_before(rig):
    rig.processor.gate.clear()
    rig.put(chunk(1, 2))
    await until(lambda: rig.processor.batches)
    assert rig.consumer.settled == []
    rig.processor.gate.set()
    await until(lambda: rig.consumer.settled == [1, 2])
    (batch,) = rig.processor.batches
    assert [(record.offset, record.key, record.timestamp_ms) for record in batch] == [(1, "k", 1500), (2, "k", 1500)]
    assert batch[0].headers == {"h": b"1"}
    assert rig.pump.handled == 2


async def test_batches_are_bounded_in_records_and_in_bytes(rig):
    rig.put(chunk(*range(25)))
    await until(lambda: rig.pump.handled == 25)
    assert [len(batch) for batch in rig.processor.batches] == [10, 10, 5]
    rig.put(chunk(*range(25, 29), size=3 * MIB))
    await until(lambda: rig.pump.handled == 29)
    assert [len(batch) for batch in rig.processor.batches[3:]] == [2, 2]
    assert rig.consumer.settled == list(range(29))


async def test_what_waits_becomes_one_batch_whatever_fetches_it_came_in(rig):
    rig.put(chunk(1), chunk(2, 3), chunk(4))
    await until(lambda: rig.pump.handled == 4)
    assert [[record.offset for record in batch] for batch in rig.processor.batches] == [[1, 2, 3, 4]]


async def test_records_fetched_before_a_rebalance_are_neither_handled_nor_settled(rig):
    rig.put(chunk(1, generation=0), chunk(5))
    await until(lambda: rig.consumer.settled)
    assert rig.consumer.settled == [5]
    assert [record.offset for record in rig.processor.batches[0]] == [5]


async def test_a_batch_whose_partitions_were_taken_away_meanwhile_is_given_up(rig):
    rig.processor.hook = lambda: setattr(rig.consumer, "stamp", (2, 0))
    rig.put(chunk(1))
    await until(lambda: rig.consumer.stamp == (2, 0))
    rig.put(chunk(7, generation=2))
    await until(lambda: rig.consumer.settled)
    assert rig.consumer.settled == [7]
    assert rig.exits == []


async def test_nothing_is_begun_while_partitions_are_being_moved(rig):
    rig.consumer.flowing = False
    rig.put(chunk(1))
    await until(lambda: rig.consumer.asked)
    rig.consumer.flowing = True
    rig.put(chunk(2))
    await until(lambda: rig.consumer.settled == [2])
    assert len(rig.processor.batches) == 1


@pytest.mark.parametrize("error", [DeadLetterNotWritten("no ack"), RuntimeError("bug"), MemoryError()])
async def test_what_the_envelope_cannot_settle_ends_the_process_first(rig, error):
    def fail() -> None:
        raise error

    rig.processor.hook = fail
    rig.put(chunk(1))
    await until(lambda: rig.exits)
    assert rig.exits == [EXIT_RESTART]
    assert rig.consumer.settled == []


async def test_a_cancellation_in_the_middle_settles_nothing(rig):
    rig.processor.gate.clear()
    rig.put(chunk(1))
    await until(lambda: rig.processor.batches)
    rig.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rig.task
    assert rig.consumer.settled == []
    assert rig.exits == []


async def test_draining_finishes_the_batch_in_hand_and_takes_no_other(rig):
    rig.processor.gate.clear()
    rig.put(chunk(1))
    await until(lambda: rig.processor.batches)
    assert await rig.pump.drain(0.01) is False
    rig.put(chunk(2))
    rig.processor.gate.set()
    assert await rig.pump.drain(5) is True
    assert len(rig.processor.batches) == 1
    assert 2 not in rig.consumer.settled


async def test_so_many_batches_are_under_way_and_no_more(sides):
    sides.put(chunk(0, 1, 2, 3, 4))
    await until(lambda: len(sides.processor.ends) == 3)
    await asyncio.sleep(0.03)
    assert sorted(sides.processor.ends) == [0, 1, 2]
    sides.processor.ends[1].set()
    await asyncio.sleep(0.03)
    assert sorted(sides.processor.ends) == [0, 1, 2], "one that waits to be settled is under way still"
    sides.processor.ends[0].set()
    await until(lambda: len(sides.processor.ends) == 5)


async def test_batches_are_settled_in_the_order_they_were_taken(sides):
    sides.put(chunk(0, 1, 2))
    await until(lambda: len(sides.processor.ends) == 3)
    sides.processor.ends[2].set()
    sides.processor.ends[1].set()
    await asyncio.sleep(0.03)
    assert sides.consumer.settled == []
    sides.processor.ends[0].set()
    await until(lambda: sides.consumer.settled == [0, 1, 2])
    assert sides.pump.handled == 3


async def test_a_batch_that_is_given_up_is_fetched_again_and_does_not_hold_the_others(sides):
    sides.put(chunk(0), chunk(1), chunk(2))
    await until(lambda: len(sides.processor.ends) == 3)
    sides.processor.errors[0] = Abandoned("not ours")
    for end in (1, 0, 2):
        sides.processor.ends[end].set()
    await until(lambda: sides.consumer.settled == [1, 2])  # the consumer sees the gap: it commits none of them
    assert sides.consumer.refetched == [0]
    assert sides.exits == []


async def test_draining_waits_for_all_batches_in_hand(sides):
    sides.put(chunk(0, 1))
    await until(lambda: len(sides.processor.ends) == 2)
    sides.processor.ends[0].set()
    await until(lambda: sides.consumer.settled == [0])
    assert await sides.pump.drain(0.03) is False
    sides.processor.ends[1].set()
    assert await sides.pump.drain(5) is True
    assert sides.consumer.settled == [0, 1]


async def test_a_cancellation_ends_every_batch_under_way(sides):
    sides.put(chunk(0, 1))
    await until(lambda: len(sides.processor.ends) == 2)
    sides.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sides.task
    assert sorted(sides.processor.cancelled) == [0, 1]
    assert sides.consumer.settled == []

"""The pump between Faust's queue and a processor, with a stand-in for the app: what is acked, and when."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from core.ports import StoredRecord
from streams.agent import EXIT_RESTART, Pump
from streams.envelope import Abandoned, DeadLetterNotWritten


class Message:
    def __init__(self, offset: int, generation_id: int = 1, size: int = 1) -> None:
        self.topic, self.partition, self.offset = "t", 0, offset
        self.key, self.value, self.headers, self.timestamp = b"k", b"x" * size, [("h", b"1")], 1.5
        self.generation_id = generation_id
        self.acked = False

    def ack(self, consumer: object) -> None:
        self.acked = True


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


class Rig:
    def __init__(self, batch_size: int = 10) -> None:
        flow = SimpleNamespace(is_active=lambda: True)
        self.app = SimpleNamespace(consumer=object(), consumer_generation_id=1, flow_control=flow)
        self.processor = Processor()
        self.exits: list[int] = []
        self.pump = Pump(
            self.app, "agent", self.processor, topics=["t"], batch_size=batch_size, within_s=0.01,
            exit_process=self.exits.append,
        )  # fmt: skip
        self.queue: asyncio.Queue = asyncio.Queue()
        self.task = asyncio.create_task(self.pump.run(self.queue))

    def put(self, *messages: Message) -> None:
        for message in messages:
            self.queue.put_nowait(SimpleNamespace(message=message))


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


async def test_a_batch_is_acked_after_the_processor_returned_and_not_before(rig):
    rig.processor.gate.clear()
    messages = [Message(1), Message(2)]
    rig.put(*messages)
    await until(lambda: rig.processor.batches)
    assert not any(message.acked for message in messages)
    rig.processor.gate.set()
    await until(lambda: all(message.acked for message in messages))
    (batch,) = rig.processor.batches
    assert [(record.offset, record.key, record.timestamp_ms) for record in batch] == [(1, "k", 1500), (2, "k", 1500)]
    assert batch[0].headers == {"h": b"1"}
    assert rig.pump.handled == 2


async def test_batches_are_bounded_in_records_and_in_bytes(rig):
    rig.put(*(Message(number) for number in range(25)))
    await until(lambda: rig.pump.handled == 25)
    assert [len(batch) for batch in rig.processor.batches] == [10, 10, 5]
    rig.put(*(Message(number, size=3 * 1024 * 1024) for number in range(4)))
    await until(lambda: rig.pump.handled == 29)
    assert [len(batch) for batch in rig.processor.batches[3:]] == [2, 2]


async def test_records_fetched_before_a_rebalance_are_neither_handled_nor_acked(rig):
    old, new = Message(1, generation_id=0), Message(5)
    rig.put(old, new)
    await until(lambda: new.acked)
    assert not old.acked
    assert [record.offset for record in rig.processor.batches[0]] == [5]


async def test_a_batch_whose_partitions_were_taken_away_meanwhile_is_not_acked(rig):
    rig.processor.hook = lambda: setattr(rig.app, "consumer_generation_id", 2)
    lost, kept = Message(1), Message(7, generation_id=2)
    rig.put(lost)
    await until(lambda: rig.app.consumer_generation_id == 2)
    rig.put(kept)
    await until(lambda: kept.acked)
    assert not lost.acked
    assert rig.exits == []


@pytest.mark.parametrize("error", [DeadLetterNotWritten("no ack"), RuntimeError("bug"), MemoryError()])
async def test_what_the_envelope_cannot_settle_ends_the_process_before_the_ack(rig, error):
    def fail() -> None:
        raise error

    rig.processor.hook = fail
    message = Message(1)
    rig.put(message)
    await until(lambda: rig.exits)
    assert rig.exits == [EXIT_RESTART]
    assert not message.acked


async def test_a_cancellation_in_the_middle_acks_nothing(rig):
    rig.processor.gate.clear()
    message = Message(1)
    rig.put(message)
    await until(lambda: rig.processor.batches)
    rig.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rig.task
    assert not message.acked
    assert rig.exits == []


async def test_draining_finishes_the_batch_in_hand_and_takes_no_other(rig):
    rig.processor.gate.clear()
    first, later = Message(1), Message(2)
    rig.put(first)
    await until(lambda: rig.processor.batches)
    assert await rig.pump.drain(0.01) is False
    rig.processor.hook = lambda: None
    rig.put(later)
    rig.processor.gate.set()
    assert await rig.pump.drain(5) is True
    assert len(rig.processor.batches) == 1
    assert not later.acked

"""The batch consumer with a broker made up here: what is committed is settled, and nothing is left out."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from streams.inbox import Inbox
from streams.transport import BatchConsumer, BatchTransport, FetchWaits, hold_fetches

PLACE = TP("t", 0)


def record(offset: int) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, value=b"v", key=b"k", headers=(), topic="t", partition=0, timestamp=0)


class Broker:
    """One partition of a log with holes, and what a group has committed."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self.offsets = list(offsets)
        self.committed: int | None = None
        self.position = 0

    def fetch(self, most: int) -> list[Any]:
        found = [offset for offset in self.offsets if offset >= self.position][:most]
        if found:
            self.position = found[-1] + 1
        return [record(offset) for offset in found]


class Consumer(BatchConsumer):
    """A batch consumer whose thread, client and app are this test."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.inbox = Inbox(10_000, 10_000_000)
        self.app = SimpleNamespace(
            consumer_generation_id=1,
            monitor=SimpleNamespace(stream_inbound_time={}, track_tp_end_offset=lambda *_: None),
            client_only=False,
        )
        self.transport = SimpleNamespace(inboxes=[self.inbox], inbox_of=lambda topic: self.inbox, app=self.app)
        self.flow_active = True
        self.most = 3
        self.during_fetch = lambda: None
        self._seeks, self._n_acked = 0, 0
        self._next, self._settled, self._searched, self._dropped = {}, {}, set(), set()
        self._committed_offset: dict[TP, int | None] = {PLACE: None}

    should_stop = False

    async def _wait_next_records(self, _: float) -> Any:
        records = self.broker.fetch(self.most)
        self.during_fetch()
        return ({PLACE: records} if records else {}), None

    def assignment(self) -> set[TP]:
        return {PLACE}

    async def seek_wait(self, partitions: Any) -> None:
        self.broker.position = partitions[PLACE]

    def highwater(self, tp: TP) -> int:
        return self.broker.offsets[-1] + 1

    def rebalanced(self, *, still_ours: bool = True) -> None:
        """What a rebalance does: a new generation, positions back to what was committed."""
        self.app.consumer_generation_id += 1
        self._forget()
        self.broker.position = self.broker.committed or 0
        self._committed_offset[PLACE] = self.broker.committed
        if self.broker.committed is not None:
            self._next[PLACE] = self._settled[PLACE] = self.broker.committed

    def commit_now(self) -> None:
        offset = self._new_offset(PLACE)
        if offset is not None:
            assert self.broker.committed is None or offset > self.broker.committed
            self.broker.committed = self._committed_offset[PLACE] = offset


@settings(max_examples=300, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=30),
    steps=st.lists(
        st.sampled_from(
            ["fetch", "take", "settle", "settle newest", "abandon", "refetch", "commit", "rebalance", "lost"]
        ),
        max_size=60,
    ),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
async def test_whatever_happens_a_committed_offset_leaves_no_record_behind(gaps, steps, sizes):
    offsets, at = [], -1
    for gap in gaps:
        at += gap
        offsets.append(at)
    broker = Broker(offsets)
    consumer = Consumer(broker)
    handled: set[int] = set()
    in_hand: list[list[Any]] = []  # batches, several of them
    for number, step in enumerate(steps):
        consumer.most = sizes[number % len(sizes)]
        match step:
            case "fetch":
                await consumer._fetch()
            case "lost":  # records arrive for an assignment that is gone by then
                consumer.during_fetch = consumer.rebalanced
                await consumer._fetch()
                consumer.during_fetch = lambda: None
            case "take":
                in_hand.append(consumer.inbox.take(consumer.most, 1000))
            case "settle" | "settle newest" if in_hand:
                chunks = in_hand.pop(0 if step == "settle" else -1)
                handled |= {one.offset for chunk in chunks for one in chunk.records}
                consumer.settle(chunks)
            case "abandon" if in_hand:
                in_hand.pop(0)
            case "refetch" if in_hand:
                consumer.refetch(in_hand.pop(0))
            case "commit":
                consumer.commit_now()
            case "rebalance":
                consumer.rebalanced()
        missed = [offset for offset in offsets if offset < (broker.committed or 0) and offset not in handled]
        assert missed == []
    for chunks in in_hand:
        consumer.refetch(chunks)
    if "abandon" not in steps and "settle newest" not in steps:  # the next rebalance has those fetched again
        await drained(consumer)
        assert broker.committed == offsets[-1] + 1


async def drained(consumer: Consumer) -> list[int]:
    """Fetch, settle and commit to the end; return the offsets in the order they came."""
    seen: list[int] = []
    for _ in range(100):
        await consumer._fetch()
        chunks = consumer.inbox.take(100, 10_000)
        seen += [one.offset for chunk in chunks for one in chunk.records]
        consumer.settle(chunks)
        consumer.commit_now()
    return seen


async def test_holes_in_the_log_do_not_stop_the_commits():
    broker = Broker([0, 1, 5, 6, 20, 21, 22, 40])
    assert await drained(Consumer(broker)) == broker.offsets
    assert broker.committed == 41


async def test_a_position_that_ran_ahead_is_set_back_so_that_no_record_is_passed_over():
    broker = Broker(range(30))
    consumer = Consumer(broker)
    await consumer._fetch()
    broker.position = 20  # as after a fetch whose answer was dropped
    consumer.settle(consumer.inbox.take(100, 1000))
    assert await drained(consumer) == list(range(3, 30))
    assert broker.committed == 30


async def test_a_chunk_that_was_given_up_holds_the_commits_until_it_comes_again():
    broker = Broker(range(9))
    consumer = Consumer(broker)
    for _ in range(3):
        await consumer._fetch()
    first, second, third = (consumer.inbox.take(3, 1000) for _ in range(3))
    consumer.settle(first)
    consumer.settle(third)
    consumer.commit_now()
    assert broker.committed == 3
    consumer.rebalanced()
    consumer.settle(second)  # of the generation before: whoever has the partition settles it
    consumer.commit_now()
    assert broker.committed == 3
    assert await drained(consumer) == list(range(3, 9))
    assert broker.committed == 9


async def test_records_of_an_assignment_that_is_gone_are_not_delivered():
    consumer = Consumer(Broker(range(9)))
    consumer.during_fetch = consumer.rebalanced
    await consumer._fetch()
    assert len(consumer.inbox) == 0
    await consumer._fetch()
    consumer.flow_active = False
    consumer.during_fetch = lambda: None
    assert not consumer.owns(consumer.stamp)


class MovedConsumer(Consumer):
    """A consumer whose partitions are moved, and sought, while it waits for a fetch: what comes is of the old stamp."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.moved = True
        self._read_offset: dict[TP, int | None] = {}

    async def seek_to_committed(self) -> dict[TP, int | None]:
        self.broker.position = self.broker.committed or self.broker.offsets[0]
        return {PLACE: self.broker.committed}

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        return dict.fromkeys(partitions, self.broker.offsets[0])

    async def _wait_next_records(self, timeout_s: float) -> Any:
        if self.moved:
            self.moved = False
            self.app.consumer_generation_id += 1
            await self.perform_seek()
        return await super()._wait_next_records(timeout_s)


@pytest.mark.parametrize("committed", [None, 10])
async def test_a_fetch_that_is_dropped_right_after_the_seek_leaves_no_gap_also_before_the_first_commit(committed):
    broker = Broker(range(7, 30))
    broker.committed = committed
    assert await drained(MovedConsumer(broker)) == list(range(committed or 7, 30))
    assert broker.committed == 30


@pytest.mark.parametrize("committed", [None, 10])
async def test_when_the_dropped_fetch_had_all_there_is_it_is_fetched_again_without_waiting_for_more(committed):
    broker = Broker(range(7, 30))
    broker.committed = committed
    consumer = MovedConsumer(broker)
    consumer.most = 100
    assert await drained(consumer) == list(range(committed or 7, 30))
    assert broker.committed == 30


async def test_a_chunk_that_could_not_be_handled_while_the_flow_stood_still_is_fetched_again():
    broker = Broker(range(9))
    consumer = Consumer(broker)
    for _ in range(3):
        await consumer._fetch()
    first, second, third = (consumer.inbox.take(3, 1000) for _ in range(3))
    consumer.settle(first)
    consumer.refetch(second)
    consumer.settle(third)
    consumer.commit_now()
    assert broker.committed == 3
    assert await drained(consumer) == list(range(3, 9))
    assert broker.committed == 9


async def test_a_chunk_of_a_generation_that_is_gone_moves_no_position():
    broker = Broker(range(9))
    consumer = Consumer(broker)
    await consumer._fetch()
    old = consumer.inbox.take(3, 1000)
    broker.committed = 6
    consumer.rebalanced()
    consumer.refetch(old)
    assert await drained(consumer) == [6, 7, 8]


async def test_an_app_cannot_have_two_agents_of_one_topic():
    transport = BatchTransport([], SimpleNamespace(), FetchWaits(100, 500))
    one, other = Inbox(1, 1), Inbox(1, 1)
    transport.deliver(["a", "b"], one)
    assert transport.inboxes == [one]
    with pytest.raises(ConfigurationError, match="two agents of one app read b"):
        transport.deliver(["b"], other)


PLACES = [TopicPartition("t", 0), TopicPartition("t", 1)]


def a_fetcher() -> Fetcher:
    """aiokafka's own, without a broker behind it: one node leads every partition."""
    fetcher: Fetcher = Fetcher.__new__(Fetcher)
    fetcher._client = SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=lambda place: 1))
    fetcher._client_rack, fetcher._preferred_read_replica = None, {}
    fetcher._records, fetcher._in_flight = {}, set()
    fetcher._fetch_min_bytes, fetcher._fetch_max_bytes, fetcher._max_partition_fetch_bytes = 1, 1_000_000, 1_000_000
    fetcher._isolation_level, fetcher._fetch_max_wait_ms, fetcher._fetcher_timeout = 0, 1500, 0.2
    hold_fetches(fetcher, FetchWaits(some=100, all=500))
    return fetcher


def an_assignment(**states: Any) -> SimpleNamespace:
    state = SimpleNamespace(
        **{"has_valid_position": True, "paused": False, "position": 7, "resume_fut": None, **states}
    )
    whole = SimpleNamespace(has_valid_position=True, paused=False, position=7)
    return SimpleNamespace(tps=PLACES, state_value=lambda place: state if place == PLACES[0] else whole)


def held_ms(fetcher: Fetcher, assignment: Any) -> list[int]:
    requests, *_ = fetcher._get_actions_per_node(assignment)
    return [request._max_wait_ms for _, request in requests]


def test_a_fetch_for_all_partitions_may_be_held_long_and_one_for_some_of_them_briefly():
    assert held_ms(a_fetcher(), an_assignment()) == [500]
    assert held_ms(a_fetcher(), an_assignment(paused=True)) == [100]
    busy = a_fetcher()
    busy._records[PLACES[0]] = SimpleNamespace(calculate_backoff=lambda: 0)  # fetched, and not taken for a while
    assert held_ms(busy, an_assignment()) == [100]
    busy._records.clear()
    assert held_ms(busy, an_assignment()) == [500]

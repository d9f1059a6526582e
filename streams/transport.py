"""Faust's Kafka transport, changed in one thing: records are handed over a fetch at a time.

Faust fetches lists of records and takes them apart: two tasks, a message object and an entry in a set of
acknowledged offsets for each, some 100 us of Python a record. Here a list stays one until the agent has settled it.
Groups, rebalances, flow control, seeking and the commit itself are Faust's; what is replaced is the loop between the
fetch and the agent, and the bookkeeping of what may be committed. docs/adr/0006-records-in-batches.md says why.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import structlog
from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from core.errors import ConfigurationError
from streams.inbox import Chunk, Inbox, Stamp

_FETCH_S = 1.0  # longest wait for records before the loop looks around again
_LAST_COMMIT_S = 3.0  # for what was settled when the partitions are taken away

_log = structlog.get_logger("streams.transport")


class FetchWaits(NamedTuple):
    """How long the broker may hold a fetch for which it has no records yet, in ms.

    aiokafka has one fetch under way at a broker, for all partitions that nothing has been fetched of before and not
    taken. A record of another partition is not fetched before that one comes back: so it must come back soon
    (`some`). A fetch for `all` partitions keeps nothing waiting, as any record ends it, and the longer the broker holds
    it, the less it costs to wait: ten fetches a second by each of 18 agents are a tenth of a processor.
    """

    some: int
    all: int


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka. How long the broker may hold a fetch, fixed there, depends here (FetchWaits)."""

    async def on_start(self) -> None:
        await super().on_start()
        hold_fetches(cast(Any, self._consumer)._fetcher, cast(BatchTransport, self.consumer.transport).waits)


def hold_fetches(fetcher: Any, waits: FetchWaits) -> None:
    """Have an aiokafka `Fetcher` decide for each round of fetches how long the broker may hold them."""
    plan = fetcher._get_actions_per_node

    def planned(assignment: Any) -> Any:
        states = [assignment.state_value(place) for place in assignment.tps]
        everything = not fetcher._records and all(state.has_valid_position and not state.paused for state in states)
        fetcher._fetch_max_wait_ms = waits.all if everything else waits.some
        return plan(assignment)

    fetcher._get_actions_per_node = planned


class BatchConsumer(driver.Consumer):
    """Delivers fetches to inboxes and commits what was settled without a gap.

    Invariant, per partition since the last seek: every chunk delivered starts where the one before it ended, and
    `_settled` is the end of the last of the leading chunks that were settled. Only that is ever committed, so an
    offset is committed when every record before it was settled, or had been removed by the broker.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seeks = 0
        self._next: dict[TP, int] = {}  # where the next chunk of a partition must start
        self._settled: dict[TP, int] = {}
        self._searched: set[tuple[TP, int]] = set()  # places that were asked for again and begin later
        self._dropped: set[TP] = set()  # read by the driver since its last seek, maybe, and delivered to nobody

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- for the agents --------------------------------------------------------------------------------------------

    @property
    def stamp(self) -> Stamp:
        """What chunks are marked with that may be worked on now; none may while partitions are being moved."""
        return (self.app.consumer_generation_id, self._seeks)

    def owns(self, stamp: Stamp) -> bool:
        """Whether a chunk with this stamp is still ours: no partition was moved and no position set back since."""
        return stamp == self.stamp and bool(self.flow_active)

    def refetch(self, chunks: Sequence[Chunk]) -> None:
        """Have chunks fetched again that were not handled; those that are not ours any more change nothing.

        A rebalance that follows does that, too. But the flow can stop for a moment without one.
        """
        for chunk in chunks:
            partition = TP(*chunk.partition)
            if chunk.stamp == self.stamp and chunk.start < self._next.get(partition, 0):
                self._next[partition] = chunk.start
                self._dropped.add(partition)

    def settle(self, chunks: Sequence[Chunk]) -> None:
        """Note that the chunks are done with. Those that are not ours any more, or leave a gap, change nothing.

        What was fetched twice may begin with records that are settled already.
        """
        for chunk in chunks:
            partition = TP(*chunk.partition)
            if chunk.stamp == self.stamp and chunk.start <= self._settled.get(partition, -1) < chunk.end:
                self._settled[partition] = chunk.end
                self._n_acked += len(chunk.records)

    # --- from the broker to the inboxes ----------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch until stopped. Called by Faust's fetcher service, which cancels it to stop."""
        inboxes: Sequence[Inbox] = self.transport.inboxes  # type: ignore[attr-defined]
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not all([await inbox.wait_for_room(_FETCH_S) for inbox in inboxes]):
                    continue
                await self._fetch()
                if self._commit_every is not None and self._n_acked >= self._commit_every:
                    self._n_acked = 0
                    await self.commit()
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.transport.app.should_stop:
                raise

    async def _fetch(self) -> None:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # an asyncio.Event does
        before = self.stamp
        await self._go_back()
        fetched, _ = await self._wait_next_records(_FETCH_S)
        if self.should_stop or not fetched:
            return
        if not self.owns(before):
            # Fetched for an assignment that is gone: whoever has the partitions now fetches it again. That may be us,
            # and the driver may have read on after it was set back: a wait that began before can end after. Were
            # these the last records for now, no gap would ever tell.
            self._dropped.update(ensure_TP(partition) for partition in fetched)
            return
        again: dict[TP, int] = {}
        for partition, records in fetched.items():
            tp = ensure_TP(partition)
            if (start := self._deliver(tp, records)) is not None:
                again[tp] = start
        if again:
            await self.seek_wait(again)

    async def _go_back(self) -> None:
        """Set the driver back to where the next chunks must start, for partitions of which it may have read on."""
        self._dropped &= ensure_TPset(self.assignment())
        known = {tp: self._next[tp] for tp in self._dropped if tp in self._next}
        if known:
            await self.seek_wait(known)
            self._dropped -= known.keys()

    def _deliver(self, tp: TP, records: Sequence[Any]) -> int | None:
        """Put records into the inbox of their topic, or return the offset from which to fetch them again."""
        first, start = records[0].offset, self._next.get(tp, records[0].offset)
        if first > start and (tp, start) not in self._searched:
            self._searched.add((tp, start))
            return start
        if first > start:
            _log.warning(
                "the broker has removed records", topic=tp.topic, partition=tp.partition, at=start, until=first
            )
        elif first < start:
            records = [record for record in records if record.offset >= start]
            if not records:
                return None
        end = records[-1].offset + 1
        self._settled.setdefault(tp, start)
        self._next[tp] = end
        size = sum([len(record.value or b"") for record in records])
        chunk = Chunk((tp.topic, tp.partition), records, start, end, self.stamp, size)
        self.transport.inbox_of(tp.topic).put(chunk)  # type: ignore[attr-defined]
        self._watched(tp)
        return None

    def _watched(self, tp: TP) -> None:
        """Tell Faust's monitor, whose stall detector and lag would be blind without it."""
        monitor = self.app.monitor
        monitor.stream_inbound_time[tp] = time.monotonic()
        if (end := self.highwater(tp)) is not None:
            monitor.track_tp_end_offset(tp, end)

    # --- positions and commits -------------------------------------------------------------------------------------

    async def perform_seek(self) -> None:
        """Go back to the committed offsets; chunks delivered before are void."""
        await super().perform_seek()
        self._forget()
        assigned = ensure_TPset(self.assignment())
        uncommitted = [tp for tp in assigned if self._committed_offset[tp] is None]
        begin = await self.earliest_offsets(*uncommitted) if uncommitted else {}
        for tp in assigned:
            committed = self._committed_offset[tp]
            # A partition without a commit is read from its beginning: were that not noted, a fetch that is dropped
            # in `_fetch` would leave a gap that nobody sees.
            self._next[tp] = self._settled[tp] = begin[tp] if committed is None else committed

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what was settled while it is still ours to commit, then let go."""
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self.commit()
        except TimeoutError:
            _log.warning("no commit before the partitions were taken away; their records are handled again")
        self._forget()
        await super().on_partitions_revoked(revoked)

    def _forget(self) -> None:
        self._seeks += 1
        self._next.clear()
        self._settled.clear()
        self._searched.clear()
        for inbox in self.transport.inboxes:  # type: ignore[attr-defined]
            inbox.clear()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._settled) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        offset = self._settled.get(tp)
        return offset if offset and offset > (self._committed_offset[tp] or 0) else None


class BatchTransport(driver.Transport):
    """Makes batch consumers. One inbox per agent; agents of one app read different topics."""

    Consumer = BatchConsumer

    def __init__(self, url: Any, app: Any, waits: FetchWaits) -> None:
        super().__init__(url, app)
        self.waits = waits
        self._inboxes: dict[str, Inbox] = {}

    def deliver(self, topics: Iterable[str], inbox: Inbox) -> None:
        """Deliver the topics to an inbox. Raises ConfigurationError for a topic that another agent of the app reads."""
        for topic in topics:
            if topic in self._inboxes:
                raise ConfigurationError(f"two agents of one app read {topic}; give each an app of its own")
            self._inboxes[topic] = inbox

    @property
    def inboxes(self) -> Sequence[Inbox]:
        return list(dict.fromkeys(self._inboxes.values()))

    def inbox_of(self, topic: str) -> Inbox:
        return self._inboxes[topic]

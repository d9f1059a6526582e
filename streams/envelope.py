"""The one place that knows about decoding, deduplication, deadlines, retries, dead letters and acknowledgement.

    records -> split frames -> decode -> validate -> deduplicate -> handle (deadline) -> effects -> the caller acks

`Envelope.process` returns only when every event of the batch was applied (or was a duplicate) or is in the
dead-letter topic, acknowledged by the broker. It never returns otherwise: it raises, and nothing is acked. What the
kinds of error mean is in `core.errors`; why they are treated so is in docs/adr/0003-failures-in-streams.md.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from core.clock import Clock
from core.errors import InvalidInput, RiverlightError, Unavailable
from core.events import event_key
from core.ports import OutgoingRecord, Publisher, StoredRecord
from core.settings import StreamSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer
from streams.batch_trace import in_traces_of, trace_in
from streams.dead_letter_record import dead_letter, error_code
from streams.decoding import Delivered, Refused, decode_records
from streams.turns import Turns

MAX_BACKOFF_S = 10.0
DEFECT_TRIES = 3  # tries of one event that fails for an unknown reason
DEFECT_LIMIT = 20  # dead letters for unknown reasons in a row, without one success: it is us, not the events

_log = structlog.get_logger("streams.envelope")


class Abandoned(RiverlightError):
    """The batch was given up half-way (partition taken away, or shutdown); its records will be delivered again."""

    code = "abandoned"


class DeadLetterNotWritten(RiverlightError):
    """The dead-letter topic did not acknowledge. The process must end before it acks the source record."""

    code = "dead-letter-not-written"


class SystematicFailure(RiverlightError):
    """Event after event fails for an unknown reason. The process ends, rather than bury the stream."""

    code = "systematic-failure"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A handler's word that one event of the batch failed, and why, while others did not."""

    item: Delivered
    error: Exception


#: Applies a batch. Returns what it could not apply; raising means that none of the batch is known to be applied.
Handle = Callable[[Sequence[Delivered]], Awaitable[Sequence[Rejected]]]


class SeenEvents(Protocol):
    """Knows which events a consumer has applied (the catalogue does)."""

    def seen(self, consumer: str, event_ids: Sequence[str]) -> set[str]: ...


class Processor(Protocol):
    """What an agent feeds with batches of records."""

    #: Why no progress is made on purpose ("embedding service: ..."); empty while all is well.
    waiting_for: str

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None: ...


@dataclass
class Backoff:
    """Waits between tries: doubles from `first_s` to `MAX_BACKOFF_S`, with full jitter in the upper half."""

    first_s: float
    tries: int = 0
    rng: random.Random = field(default_factory=random.Random)

    async def pause(self, owned: Callable[[], bool], at_least_s: float = 0.0) -> None:
        """Sleep before the next try. Raises Abandoned as soon as `owned` is false."""
        longest = min(self.first_s * 2**self.tries, MAX_BACKOFF_S)
        self.tries += 1
        left = max(longest * self.rng.uniform(0.5, 1.0), min(at_least_s, MAX_BACKOFF_S))
        while left > 0:
            if not owned():
                raise Abandoned("the batch was given up while waiting to try again")
            step = min(left, 0.2)
            await asyncio.sleep(step)
            left -= step
        if not owned():
            raise Abandoned("the batch was given up while waiting to try again")


def always() -> bool:
    return True


class Envelope:
    """Takes batches of raw records of one stream through one handler.

    Several may be under way: one that has an event of a key waits for those before it that have one, too.
    """

    def __init__(
        self,
        agent: str,
        stream: str,
        handle: Handle,
        *,
        publisher: Publisher,
        settings: StreamSettings,
        recorder: Recorder,
        clock: Clock,
        inbox: SeenEvents | None = None,
        code_version: str = "unknown",
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self.agent = agent
        self.waiting_for = ""
        self._stream = stream
        self._handle = handle
        self._publisher = publisher
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._inbox = inbox
        self._code_version = code_version
        self._tracer = tracer
        self._defects_in_a_row = 0
        self._turns = Turns()

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool] = always) -> None:
        """Settle every event of `records`. `owned` turns false when the work is no longer ours.

        Raises:
            Abandoned: `owned` turned false while waiting; some events may have been applied.
            DeadLetterNotWritten, SystematicFailure: end the process, do not ack.
        """
        with self._recorder.time(metrics.BATCH_SECONDS, agent=self.agent):
            latest = self._clock.now() + timedelta(seconds=self._settings.max_future_s)
            items, refused = decode_records(records, self._stream, latest)
            async with self._turns.of(event_key(item.event) for item in items):
                items = await self._without_duplicates(items, owned)
                with in_traces_of(items, self._tracer, self.agent):
                    await self._bury(refused)
                    self._recorder.observe(metrics.BATCH_EVENTS, len(items), agent=self.agent)
                    await self._settle(items, owned)
        now = self._clock.now()
        for item in items[:: max(1, len(items) // 100)]:  # a sample: frames make batches of tens of thousands
            self._recorder.observe(
                metrics.EVENT_LAG, max(0.0, (now - item.event.time).total_seconds()), agent=self.agent
            )

    async def _without_duplicates(self, items: list[Delivered], owned: Callable[[], bool]) -> list[Delivered]:
        if self._inbox is None or not items:
            return items  # the sink knows what it has applied
        first: dict[str, Delivered] = {}
        for item in items:
            first.setdefault(item.event.id, item)
        backoff = Backoff(self._settings.backoff_s)
        while True:
            try:
                known = await asyncio.to_thread(self._inbox.seen, self.agent, list(first))
                break
            except Unavailable as error:
                await self._wait(backoff, error, owned)
        self.waiting_for = ""
        fresh = [item for event_id, item in first.items() if event_id not in known]
        if len(items) > len(fresh):
            self._recorder.count(metrics.EVENTS, len(items) - len(fresh), agent=self.agent, outcome="duplicate")
        return fresh

    async def _settle(self, items: Sequence[Delivered], owned: Callable[[], bool]) -> None:
        """Apply the items in order, or bury those that cannot be."""
        backoff = Backoff(self._settings.backoff_s)
        while items:
            failure: Exception | None = None
            rejected: Sequence[Rejected] = ()
            try:
                async with asyncio.timeout(self._settings.deadline_s):
                    rejected = await self._handle(items)
            except Unavailable as error:
                await self._wait(backoff, error, owned)
                continue
            except Exception as error:
                failure = error
            if failure is not None and len(items) > 1:  # somewhere in here is one that fails: halve until it is alone
                middle = len(items) // 2
                await self._settle(items[:middle], owned)
                await self._settle(items[middle:], owned)
                return
            if failure is not None:
                rejected = [Rejected(items[0], failure)]
            self.waiting_for = ""
            again: list[Delivered] = []
            refused: list[Refused] = []
            for rejection in rejected:
                item = rejection.item
                item.attempts += 1
                if self._worth_another_try(rejection):
                    again.append(item)
                else:
                    refused.append(Refused(item.record, item.original(), rejection.error, item.attempts))
            applied = len(items) - len(rejected)
            if applied:
                self._defects_in_a_row = 0
                self._recorder.count(metrics.EVENTS, applied, agent=self.agent, outcome="applied")
            await self._bury(refused)
            items = again
            if items:
                self._recorder.count(metrics.RETRIES, agent=self.agent)
                await backoff.pause(owned)

    def _worth_another_try(self, rejection: Rejected) -> bool:
        match rejection.error:
            case InvalidInput():
                return False
            case Unavailable():
                return rejection.item.attempts < self._settings.attempts
        return rejection.item.attempts < DEFECT_TRIES

    async def _wait(self, backoff: Backoff, error: Unavailable, owned: Callable[[], bool]) -> None:
        """A dependency is down: wait for it for as long as it takes. Lag grows, nothing is lost."""
        if not self.waiting_for:
            _log.warning("waiting for a dependency", agent=self.agent, error=str(error))
        self.waiting_for = f"{self.agent}: {error}"
        self._recorder.count(metrics.RETRIES, agent=self.agent)
        await backoff.pause(owned, error.retry_after_s if backoff.tries else 0.0)

    async def _bury(self, refused: Sequence[Refused]) -> None:
        """Write dead letters and wait until the broker has them."""
        if not refused:
            return
        letters: list[OutgoingRecord] = []
        for dead in refused:
            letter = dead_letter(
                dead.record,
                dead.raw,
                dead.error,
                agent=self.agent,
                attempts=dead.attempts,
                code_version=self._code_version,
            )
            letters.append(letter)
            _log.warning(
                "dead letter",
                agent=self.agent,
                event_id=letter.key,
                code=error_code(dead.error),
                error=str(dead.error),
                topic=dead.record.topic,
                partition=dead.record.partition,
                offset=dead.record.offset,
                trace_id=trace_in(dead.raw),
                exc_info=dead.error if _is_defect(dead.error) else None,
            )
        await self._publish(letters)
        for dead in refused:
            self._recorder.count(metrics.DEAD_LETTERS, agent=self.agent, code=error_code(dead.error))
        self._recorder.count(metrics.EVENTS, len(refused), agent=self.agent, outcome="dead_letter")
        self._defects_in_a_row += sum(_is_defect(dead.error) for dead in refused)
        if self._defects_in_a_row >= DEFECT_LIMIT:
            raise SystematicFailure(
                f"{self.agent}: {self._defects_in_a_row} events in a row failed for an unknown reason, the last with "
                f"{refused[-1].error!r}; ending the process instead of burying the stream"
            )

    async def _publish(self, letters: Sequence[OutgoingRecord]) -> None:
        backoff = Backoff(self._settings.backoff_s)
        for attempt in range(1, self._settings.attempts + 1):
            try:
                await self._publisher.publish(letters)
                return
            except Unavailable as error:
                if attempt == self._settings.attempts:
                    raise DeadLetterNotWritten(f"{len(letters)} dead letters were not acknowledged: {error}") from error
                await backoff.pause(always)


def _is_defect(error: Exception) -> bool:
    return not isinstance(error, (InvalidInput, Unavailable))

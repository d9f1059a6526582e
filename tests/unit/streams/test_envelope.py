"""The envelope with fakes: whatever comes in, each event ends once, as applied or as a dead letter."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput, Unavailable
from core.events import Click, Interaction, encode, encode_frame
from core.ports import OutgoingRecord, StoredRecord
from core.settings import StreamSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams import dead_letter_record as letters
from streams.decoding import Delivered
from streams.envelope import (
    Abandoned,
    DeadLetterNotWritten,
    Envelope,
    Rejected,
    SystematicFailure,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FAST = StreamSettings(backoff_s=0.0001, attempts=3, deadline_s=5.0)


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class MemoryPublisher:
    records: list[OutgoingRecord] = field(default_factory=list)
    failures: int = 0

    async def publish(self, records: Sequence[OutgoingRecord], *, timeout_s: float = 10.0) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise Unavailable("broker is away")
        self.records.extend(records)


@dataclass
class Sink:
    """A handler that applies events, unless a script says otherwise: event id -> errors to raise, one a try."""

    scripts: dict[str, list[Exception]] = field(default_factory=dict)
    whole_batch: bool = False  # raise for the whole batch, as a handler that cannot tell which event it was
    applied: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        self.batches.append(len(batch))
        errors = {item.event.id: self.scripts[item.event.id][0] for item in batch if self.scripts.get(item.event.id)}
        if errors and self.whole_batch:
            name, error = next(iter(errors.items()))
            self._used(name)
            raise error
        for name in errors:
            self._used(name)
        self.applied += [item.event.id for item in batch if item.event.id not in errors]
        return [Rejected(item, errors[item.event.id]) for item in batch if item.event.id in errors]

    def _used(self, name: str) -> None:
        if not isinstance(self.scripts[name][0], (InvalidInput, ValueError)):  # poison stays poison
            self.scripts[name].pop(0)


@dataclass
class MemoryInbox:
    known: set[str] = field(default_factory=set)
    failures: int = 0

    def seen(self, consumer: str, event_ids: Sequence[str]) -> set[str]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("catalogue is locked")
        return self.known & set(event_ids)


def click(name: str, time: datetime = NOW) -> Click:
    data = Interaction(user_id="user-1", item_id="item-1")
    return Click(id=name, source="test", time=time, subject="user-1", data=data)


_offsets = itertools.count()


def record(value: bytes | None, **headers: bytes) -> StoredRecord:
    return StoredRecord("content.interactions.v1", 2, next(_offsets), "user-1", value, headers, 1_700_000_000_000)


def make(sink: Callable, publisher: MemoryPublisher | None = None, **changes) -> Envelope:
    changes.setdefault("settings", FAST)
    return Envelope(
        "interactions",
        "interactions",
        sink,
        publisher=publisher if publisher is not None else MemoryPublisher(),
        recorder=changes.pop("recorder", None) or Recorder(),
        clock=FixedClock(),
        code_version="1.2.3",
        **changes,
    )


async def test_a_good_event_is_applied_and_counted():
    sink, recorder = Sink(), Recorder()
    await make(sink, recorder=recorder).process([record(encode(click("a")))])
    assert sink.applied == ["a"]
    assert recorder.value(metrics.EVENTS, agent="interactions", outcome="applied") == 1


async def test_one_bad_event_of_a_frame_is_one_dead_letter_and_its_neighbours_are_applied():
    bad = b'{"specversion": "1.0", "id": "evt-bad", "type": "riverlight.interaction.click"}'
    frame = b"[" + b",".join([encode(click("a")), bad, encode(click("b"))]) + b"]"
    sink, publisher = Sink(), MemoryPublisher()
    source = record(frame, traceparent=b"00-trace")
    await make(sink, publisher).process([source])
    assert sink.applied == ["a", "b"]
    (letter,) = publisher.records
    assert (letter.topic, letter.key, letter.value) == ("content.interactions.v1.dlq", "evt-bad", bad)
    headers = letter.headers
    assert headers["traceparent"] == b"00-trace"
    assert headers[letters.TOPIC] == b"content.interactions.v1"
    assert headers[letters.PARTITION] == b"2"
    assert headers[letters.OFFSET] == str(source.offset).encode()
    assert headers[letters.TIMESTAMP] == b"1700000000000"
    assert headers[letters.KEY] == b"user-1"
    assert headers[letters.CODE] == b"invalid-event"
    assert headers[letters.AGENT] == b"interactions"
    assert headers[letters.CODE_VERSION] == b"1.2.3"
    assert headers[letters.ATTEMPTS] == b"1"
    assert b"InvalidEvent" in headers[letters.ERROR]
    assert len(headers[letters.STACK_HASH]) == 12


@pytest.mark.parametrize("value", [b"", None, b"\x00\xff", b"[", b"[1, 2", b"{}", b"null", b"[" * 5000])
async def test_bytes_that_are_not_events_are_dead_letters_with_the_original_bytes(value):
    sink, publisher = Sink(), MemoryPublisher()
    await make(sink, publisher).process([record(value), record(encode(click("a")))])
    assert sink.applied == ["a"]
    assert [letter.value for letter in publisher.records] == [value or b""]
    assert publisher.records[0].key == letters.letter_id(value or b"")


async def test_an_event_from_the_future_is_a_dead_letter():
    sink, publisher = Sink(), MemoryPublisher()
    ahead = click("ahead", NOW + timedelta(seconds=FAST.max_future_s + 1))
    near = click("near", NOW + timedelta(seconds=FAST.max_future_s - 1))
    await make(sink, publisher).process([record(encode_frame([ahead, near]))])
    assert sink.applied == ["near"]
    assert publisher.records[0].headers[letters.CODE] == b"future-event"


async def test_duplicates_in_a_batch_and_events_in_the_inbox_are_not_applied_again():
    sink, recorder = Sink(), Recorder()
    envelope = make(sink, inbox=MemoryInbox({"old"}, failures=2), recorder=recorder)
    await envelope.process([record(encode_frame([click("old"), click("new"), click("new")]))])
    assert sink.applied == ["new"]
    assert recorder.value(metrics.EVENTS, agent="interactions", outcome="duplicate") == 2


async def test_a_dependency_that_is_down_is_waited_for_longer_than_any_count_of_attempts():
    sink = Sink({"a": [Unavailable("down", retry_after_s=0.0)] * 20}, whole_batch=True)
    publisher = MemoryPublisher()
    await make(sink, publisher, settings=FAST.model_copy(update={"backoff_s": 1e-9})).process(
        [record(encode(click("a"))), record(encode(click("b")))]
    )
    assert sink.applied == ["a", "b"]
    assert publisher.records == []


async def test_while_it_waits_the_envelope_says_for_what_and_gives_up_when_the_partition_is_taken_away():
    sink = Sink({"a": [Unavailable("embedding service: connection refused")] * 1000}, whole_batch=True)
    publisher = MemoryPublisher()
    envelope = make(sink, publisher)
    answers = iter([True, True, True])
    with pytest.raises(Abandoned):
        await envelope.process([record(encode(click("a")))], lambda: next(answers, False))
    assert "embedding service: connection refused" in envelope.waiting_for
    assert sink.applied == publisher.records == []


async def test_a_transient_failure_of_one_item_is_retried_and_then_a_dead_letter():
    flaky = {"flaky": [Unavailable("busy")] * (FAST.attempts - 1), "broken": [Unavailable("busy")] * 99}
    sink, publisher = Sink(flaky), MemoryPublisher()
    await make(sink, publisher).process([record(encode_frame([click(n) for n in ("flaky", "broken", "good")]))])
    assert sorted(sink.applied) == ["flaky", "good"]
    (letter,) = publisher.records
    assert (letter.key, letter.headers[letters.CODE]) == ("broken", b"unavailable")
    assert letter.headers[letters.ATTEMPTS] == str(FAST.attempts).encode()


async def test_a_batch_that_fails_for_an_unknown_reason_is_halved_until_the_poison_is_alone():
    names = [f"e{number:02}" for number in range(32)]
    sink, publisher = Sink({"e13": [ValueError("poison")]}, whole_batch=True), MemoryPublisher()
    await make(sink, publisher).process([record(encode_frame([click(name) for name in names]))])
    assert sink.applied == [name for name in names if name != "e13"]  # and in order
    (letter,) = publisher.records
    assert (letter.key, letter.headers[letters.CODE]) == ("e13", b"internal")
    assert len(sink.batches) < 16


async def test_a_handler_that_hangs_is_cut_off_at_the_deadline():
    async def hang(batch: Sequence[Delivered]) -> list[Rejected]:
        if any(item.event.id == "hang" for item in batch):
            await asyncio.Event().wait()
        return []

    publisher = MemoryPublisher()
    envelope = make(hang, publisher, settings=FAST.model_copy(update={"deadline_s": 0.02}))
    await envelope.process([record(encode_frame([click("hang"), click("good")]))])
    assert [(letter.key, letter.headers[letters.CODE]) for letter in publisher.records] == [("hang", b"deadline")]


async def test_a_defect_that_hits_every_event_ends_the_work_instead_of_burying_the_stream():
    async def broken(batch: Sequence[Delivered]) -> list[Rejected]:
        raise OSError("disk full")

    publisher = MemoryPublisher()
    with pytest.raises(SystematicFailure):
        await make(broken, publisher).process([record(encode_frame([click(f"e{n}") for n in range(200)]))])
    assert len(publisher.records) == 20


async def test_a_dead_letter_is_tried_again_and_if_it_cannot_be_written_nothing_may_be_acked():
    sink = Sink()
    publisher = MemoryPublisher(failures=FAST.attempts - 1)
    await make(sink, publisher).process([record(b"{")])
    assert len(publisher.records) == 1
    with pytest.raises(DeadLetterNotWritten):
        await make(sink, MemoryPublisher(failures=FAST.attempts)).process([record(b"{")])


async def test_a_cancellation_passes_through_and_is_not_a_failure_of_the_event():
    started = asyncio.Event()

    async def slow(batch: Sequence[Delivered]) -> list[Rejected]:
        started.set()
        await asyncio.Event().wait()
        return []

    publisher = MemoryPublisher()
    task = asyncio.create_task(make(slow, publisher).process([record(encode(click("a")))]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert publisher.records == []


def test_an_id_that_cannot_be_read_is_replaced_by_one_made_from_the_bytes():
    assert letters.letter_id(b'{"id": "evt-1", "x": [').startswith("raw-")
    assert letters.letter_id(b'{"id": "evt-1"}') == "evt-1"
    assert letters.letter_id(b'{"id": "evt\\u0000"}').startswith("raw-")
    assert letters.letter_id(b"same") == letters.letter_id(b"same") != letters.letter_id(b"other")


FATES = st.sampled_from(["good", "garbage", "future", "poison", "invalid", "flaky", "hopeless"])


@settings(max_examples=150, deadline=None)
@given(
    frames=st.lists(st.lists(st.tuples(st.integers(0, 15), FATES), min_size=1, max_size=6), max_size=8),
    known=st.sets(st.integers(0, 15), max_size=4),
    whole_batch=st.booleans(),
    cuts=st.lists(st.integers(1, 4), max_size=8),
)
def test_no_mix_of_events_loses_one_or_settles_one_twice(frames, known, whole_batch, cuts):
    """The first appearance of an id decides its fate; every id then ends exactly once, or was applied before."""
    fates: dict[str, str] = {}
    records: list[StoredRecord] = []
    for frame in frames:
        parts = []
        for number, fate in frame:
            name = f"e{number}"
            fate = fates.setdefault(name, fate)
            time = NOW + timedelta(hours=1) if fate == "future" else NOW
            event = encode(click(name, time))
            parts.append(msgspec.json.encode({"id": name, "type": "nonsense"}) if fate == "garbage" else event)
        records.append(record(b"[" + b",".join(parts) + b"]" if len(parts) > 1 else parts[0]))

    errors = {"poison": ValueError("poison"), "invalid": InvalidInput("no"), "flaky": Unavailable("x", retry_after_s=0)}
    scripts = {name: [errors[fate]] for name, fate in fates.items() if fate in errors}
    if not whole_batch:
        scripts |= {name: [Unavailable("x")] * 99 for name, fate in fates.items() if fate == "hopeless"}
    sink, publisher = Sink(scripts, whole_batch), MemoryPublisher()
    inbox = MemoryInbox({f"e{number}" for number in known})

    async def run() -> None:
        envelope = make(sink, publisher, inbox=inbox, settings=FAST.model_copy(update={"backoff_s": 1e-9}))
        left, sizes = list(records), itertools.chain(cuts, itertools.repeat(3))
        while left:
            size = next(sizes)
            await envelope.process(left[:size])
            inbox.known |= set(sink.applied)
            left = left[size:]

    asyncio.run(run())
    undecodable = {"garbage", "future"}
    failing = {"poison", "invalid"} | (set() if whole_batch else {"hopeless"})
    before = {f"e{number}" for number in known}
    dead = {name for name, fate in fates.items() if fate in undecodable or (fate in failing and name not in before)}
    alive = {name for name, fate in fates.items() if fate not in undecodable | failing and name not in before}
    assert sorted(sink.applied) == sorted(alive)  # exactly once each
    assert {letter.key for letter in publisher.records} == dead


def click_of(user: str, name: str) -> Click:
    data = Interaction(user_id=user, item_id="item-1")
    return Click(id=name, source="test", time=NOW, subject=user, data=data)


class SlowSink(Sink):
    """Applies what it is given when `gate` opens; knows how many batches were in it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.inside = 0

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        self.inside += 1
        await self.gate.wait()
        self.inside -= 1
        return await super().__call__(batch)


async def test_batches_of_other_keys_are_handled_side_by_side_and_those_of_the_same_key_in_turn():
    sink = SlowSink()
    envelope = make(sink)
    batches = [[("a", "a1"), ("b", "b1")], [("c", "c1")], [("b", "b2"), ("d", "d1")], [("d", "d2")]]
    tasks = [
        asyncio.create_task(envelope.process([record(encode(click_of(*one))) for one in batch])) for batch in batches
    ]
    async with asyncio.timeout(5):
        while sink.inside < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert sink.inside == 2
        sink.gate.set()
        await asyncio.gather(*tasks)
    assert sorted(sink.applied) == ["a1", "b1", "b2", "c1", "d1", "d2"]
    assert sink.applied.index("b1") < sink.applied.index("b2")
    assert sink.applied.index("d1") < sink.applied.index("d2")


async def test_the_same_event_in_two_batches_under_way_is_applied_once():
    sink = SlowSink()
    inbox = MemoryInbox()

    async def applied(batch: Sequence[Delivered]) -> list[Rejected]:
        await sink(batch)
        inbox.known |= {one.event.id for one in batch}
        return []

    envelope = make(applied, inbox=inbox)
    tasks = [asyncio.create_task(envelope.process([record(encode(click_of("a", "a1")))])) for _ in range(2)]
    await asyncio.sleep(0.01)
    sink.gate.set()
    await asyncio.gather(*tasks)
    assert sink.applied == ["a1"]

"""Counting exactly once, and an online store that follows the counts, on the real state and the real store."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from core.errors import IntegrityError, Unavailable
from core.events import InteractionEvent
from core.locks import hold_exclusive
from core.settings import FeatureSettings
from features.engine import FeatureEngine
from features.interactions import SURFACES
from features.online import OnlineStore
from features.reader import FeatureReader
from features.state import FeatureState
from tests.unit.features.interaction_factory import (
    START,
    TOPIC,
    ManualClock,
    expected_features,
    interaction,
    located,
    random_events,
)

SETTINGS = FeatureSettings()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + timedelta(hours=1))


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock) -> Iterator[FeatureEngine]:
    engine = FeatureEngine.open(tmp_path, SETTINGS, clock)
    yield engine
    engine.close()


@pytest.fixture
def reader(tmp_path: Path, clock: ManualClock) -> Iterator[FeatureReader]:
    reader = FeatureReader.open(tmp_path, SETTINGS, clock)
    yield reader
    reader.close()


def item(reader: FeatureReader, name: str, item_id: str = "item-1") -> int | float | None:
    return reader.item_features([item_id])[0].values[name]


def test_a_batch_says_what_was_applied_repeated_late_and_touched(engine: FeatureEngine) -> None:
    old = interaction(id="old", time=START - timedelta(days=8))
    events = [interaction(id="a"), interaction("click", id="b"), interaction(id="a"), old, interaction("like", id="c")]
    result = engine.apply(located(events))
    assert (result.applied, result.duplicates) == (3, 1)
    assert [late.event.id for late in result.late] == ["old"]
    assert result.touched == {(0, "item-1"), (1, "user-1")}


def test_an_event_that_comes_again_counts_once(engine: FeatureEngine, reader: FeatureReader) -> None:
    event = interaction(id="a")
    engine.apply(located([event], first=5))
    for again in (located([event], first=5), located([event], first=9), located([event], partition=3)):
        assert engine.apply(again).duplicates == 1
    engine.flush()
    assert item(reader, "impressions_day") == 1


def test_offsets_below_the_fence_are_repetitions_whatever_their_ids(engine: FeatureEngine) -> None:
    engine.apply(located([interaction(id="a")], first=7))
    assert engine.apply(located([interaction(id="forgotten id")], first=6)).duplicates == 1
    assert engine.positions() == {(TOPIC, 0): ("a", 7)}


def test_the_events_of_one_frame_may_come_in_two_batches(engine: FeatureEngine) -> None:
    frame = [located([interaction(id=f"evt-{n}")], first=7)[0] for n in range(4)]
    assert engine.apply(frame[:2]).applied == 2
    assert engine.apply(frame).applied == 2


def test_a_topic_made_anew_starts_a_new_fence_while_ids_still_protect(engine: FeatureEngine) -> None:
    engine.apply(located([interaction(id=f"evt-{n}") for n in range(5)], first=100, epoch="first"))
    again = engine.apply(located([interaction(id="evt-3"), interaction(id="new")], first=0, epoch="second"))
    assert (again.applied, again.duplicates) == (1, 1)
    assert engine.positions() == {(TOPIC, 0): ("second", 1)}


def test_lateness_is_measured_when_the_record_arrived_not_when_we_got_to_it(
    engine: FeatureEngine, clock: ManualClock
) -> None:
    on_time = located([interaction(id="a")], arrived=True)
    unknown = located([interaction(id="b")], first=1)
    clock.advance(days=7, hours=5)
    result = engine.apply([*on_time, *unknown])
    assert result.applied == 1
    assert [late.event.id for late in result.late] == ["b"]


def test_an_event_whose_id_may_have_been_forgotten_is_late_rather_than_counted_twice(
    engine: FeatureEngine, clock: ManualClock
) -> None:
    records = located([interaction(id="a")], arrived=True)
    engine.apply(records)
    clock.advance(days=9)
    assert len(engine.apply(located([interaction(id="a")], first=50, arrived=True)).late) == 1


def test_a_duplicate_that_has_become_late_is_still_a_duplicate(engine: FeatureEngine, clock: ManualClock) -> None:
    engine.apply(located([interaction(id="a")], first=3))
    clock.advance(days=7, hours=1)
    result = engine.apply(located([interaction(id="a")], first=3))
    assert (result.duplicates, result.late) == (1, ())


def test_random_batches_with_replays_equal_counting_by_hand(
    engine: FeatureEngine, reader: FeatureReader, clock: ManualClock
) -> None:
    events = random_events(1500, seed=3)
    rng = np.random.default_rng(3)
    position = 0
    clock.time = events[-1].time + timedelta(minutes=1)
    while position < len(events):
        first = max(0, position - int(rng.integers(0, 60)))
        position = min(len(events), position + int(rng.integers(1, 200)))
        engine.apply(located(events[first:position], first=first))
        if rng.random() < 0.5:
            engine.flush(limit=int(rng.integers(1, 30)))
    engine.flush()
    for key, read in (("item_id", reader.item_features), ("user_id", reader.user_features)):
        expected = expected_features(events, key, clock.now())
        assert {row.entity_id: dict(row.values) for row in read(list(expected))} == expected


def test_what_was_counted_but_not_pushed_before_a_crash_is_pushed_after_it(tmp_path: Path, clock: ManualClock) -> None:
    crashed = FeatureEngine.open(tmp_path, SETTINGS, clock)
    crashed.apply(located([interaction()]))
    crashed.close()  # nothing was flushed
    engine, reader = FeatureEngine.open(tmp_path, SETTINGS, clock), FeatureReader.open(tmp_path, SETTINGS, clock)
    assert reader.item_features(["item-1"])[0].status == "missing"
    assert engine.flush() == 2
    assert item(reader, "impressions_day") == 1
    engine.close()
    reader.close()


def test_a_push_that_was_not_recorded_before_a_crash_is_repeated_with_a_later_time(
    tmp_path: Path, clock: ManualClock, engine: FeatureEngine, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.apply(located([interaction()]))
    with monkeypatch.context() as crash:
        crash.setattr(FeatureState, "settle", _die)
        with pytest.raises(RuntimeError, match="killed"):
            engine.flush()
    [first] = reader.item_features(["item-1"])
    assert engine.flush() == 2
    [second] = reader.item_features(["item-1"])
    assert first.as_of is not None and second.as_of is not None and second.as_of > first.as_of
    assert second.values == first.values


def _die(*_: object) -> None:
    raise RuntimeError("killed")


def test_an_entity_touched_while_it_is_pushed_is_pushed_again(
    engine: FeatureEngine, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.apply(located([interaction(id="a")]))
    write = OnlineStore.write

    def touching(self: OnlineStore, *args: object) -> None:
        write(self, *args)  # type: ignore[arg-type]
        engine.apply(located([interaction(id="b")], first=1))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(OnlineStore, "write", touching)
        engine.flush()
    assert engine.pending() == 2
    engine.flush()
    assert item(reader, "impressions_day") == 2


def test_windows_decay_when_nothing_happens(engine: FeatureEngine, reader: FeatureReader, clock: ManualClock) -> None:
    engine.apply(located([interaction(id="a", time=START), interaction("click", id="b", time=START)]))
    engine.flush()
    seen = []
    for hours in (0, 22, 23, 24 * 6, 24 * 7, 24 * 30):
        clock.time = START.replace(minute=0, second=0) + timedelta(hours=1 + hours)
        due = engine.sweep()
        values = reader.item_features(["item-1"])[0].values
        seen.append((due > 0, *(values[f"clicks_{window}"] for window in ("day", "week", "month"))))
    assert seen == [
        (False, 1, 1, 1),
        (False, 1, 1, 1),
        (True, 0, 1, 1),
        (False, 0, 1, 1),
        (True, 0, 0, 1),
        (True, 0, 0, 0),
    ]
    assert engine.sweep() == 0


def test_swept_rows_equal_counting_by_hand_at_every_hour(
    engine: FeatureEngine, reader: FeatureReader, clock: ManualClock
) -> None:
    events = random_events(200, seed=9, over=timedelta(hours=30), items=4)
    clock.time = events[-1].time + timedelta(microseconds=1)
    engine.apply(located(events))
    engine.flush()
    for _ in range(40):
        clock.advance(hours=1, minutes=1)
        engine.sweep()
        expected = expected_features(events, "item_id", clock.now())
        assert {r.entity_id: dict(r.values) for r in reader.item_features(list(expected))} == expected


def test_state_forgets_buckets_ids_and_entities_that_no_window_needs(
    tmp_path: Path, engine: FeatureEngine, clock: ManualClock
) -> None:
    engine.apply(located(random_events(100, seed=2)))
    engine.flush()
    for days in (2, 10, 40, 80):
        clock.time = START + timedelta(days=days)
        engine.sweep()
    engine.apply([])
    with sqlite3.connect(tmp_path / "features" / "state.db") as db:
        left = {
            t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
            for t in ("counts", "entities", "journal", "ids", "runs", "dirty")
        }
    db.close()
    assert set(left.values()) == {0}, left
    assert list((tmp_path / "features" / "ids").glob("*")) == []


def test_a_batch_that_fails_midway_counts_nothing(engine: FeatureEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as crash:
        crash.setattr(FeatureState, "set_fences", _die)
        with pytest.raises(RuntimeError, match="killed"):
            engine.apply(located([interaction()]))
    assert engine.pending() == 0
    assert engine.apply(located([interaction()])).applied == 1


def test_two_engines_over_one_home_count_together(
    tmp_path: Path, engine: FeatureEngine, reader: FeatureReader, clock: ManualClock
) -> None:
    other = FeatureEngine.open(tmp_path, SETTINGS, clock)
    engine.apply(located([interaction(id="a")], partition=0))
    other.apply(located([interaction(id="b"), interaction(id="a")], partition=1))
    assert engine.flush() + other.flush() == 2
    assert item(reader, "impressions_day") == 2
    other.close()


def test_an_engine_does_not_open_while_a_rebuild_holds_the_home(tmp_path: Path, clock: ManualClock) -> None:
    with hold_exclusive(tmp_path / "features" / "engine.lock"), pytest.raises(Unavailable, match="rebuild"):
        FeatureEngine.open(tmp_path, SETTINGS, clock)


def test_state_that_is_damaged_or_newer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    FeatureState.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(IntegrityError, match="newer release"):
        FeatureState.open(path)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match="rebuild"):
        FeatureState.open(path)


def test_surfaces_are_totalled_per_window_and_unknown_ones_together(engine: FeatureEngine, clock: ManualClock) -> None:
    def on(surface: str, kind: str, id: str, days: float = 0, seconds: float | None = None) -> InteractionEvent:
        event = interaction(kind, id=id, time=START - timedelta(days=days), seconds=seconds)
        return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, surface=surface))

    events = [on("visual_search", "impression", f"shown-{n}") for n in range(4)]
    events += [
        on("visual_search", "click", "clicked"),
        on("visual_search", "impression", "older", days=3),
        on("visual_search", "watch", "watched", seconds=2.5),
        on("home", "impression", "home"),
        on("x" * 60, "impression", "unknown-1"),
        on("y" * 60, "click", "unknown-2"),
    ]
    engine.apply(located(events))
    engine.apply(located(events))
    found = {(row.surface, row.window): (row.impressions, row.clicks, row.time_spent_s) for row in engine.surfaces()}
    assert found["visual_search", "day"] == (4, 1, 2.5)
    assert found["visual_search", "week"] == found["visual_search", "month"] == (5, 1, 2.5)
    assert found["home", "day"] == (1, 0, 0)
    assert found["other", "day"] == (1, 1, 0)
    assert {surface for surface, _ in found} == {*SURFACES, "other"}
    clock.advance(days=40)
    assert {(row.impressions, row.clicks, row.time_spent_s) for row in engine.surfaces()} == {(0, 0, 0)}


def test_counting_needs_no_online_store_and_the_first_push_opens_it(tmp_path: Path, clock: ManualClock) -> None:
    opened: list[str] = []

    def connect() -> OnlineStore:
        opened.append("opened")
        if len(opened) == 1:
            raise Unavailable("not there yet")
        return OnlineStore.open(tmp_path, SETTINGS)

    engine = FeatureEngine(tmp_path, FeatureState.open(tmp_path / "state.db"), connect, SETTINGS, clock)
    engine.apply(located([interaction()]))
    assert opened == []
    with pytest.raises(Unavailable):
        engine.flush()
    assert engine.pending() == 2
    assert (engine.flush(), engine.flush()) == (2, 0)
    assert opened == ["opened", "opened"]
    engine.close()

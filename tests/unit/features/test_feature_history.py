"""Offline equals online: history, training set and rebuild, against scanning and against what serving logged."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from core.errors import IntegrityError, InvalidInput, Unavailable
from core.events import Click, Impression, InteractionEvent
from core.settings import FeatureSettings
from features.archive import ArchiveWriter
from features.engine import FeatureEngine
from features.history import points
from features.interactions import from_us, to_us
from features.offline import build_history, history_table, training_set
from features.reader import FeatureReader
from features.rebuild import rebuild
from features.schema import ITEM_STATS, WINDOW_FEATURES
from tests.unit.features.interaction_factory import (
    START,
    TOPIC,
    ManualClock,
    expected_features,
    interaction,
    located,
    random_events,
    stored,
)

SETTINGS = FeatureSettings()
VIEWS = {"item_stats": "item_id", "user_stats": "user_id"}


def archive_of(home: Path, events: list[InteractionEvent]) -> Path:
    ArchiveWriter(home / "archive").write(TOPIC, [stored(event, n) for n, event in enumerate(events)])
    return home / "archive"


def test_each_history_row_holds_what_happened_before_its_time_and_no_more() -> None:
    events = random_events(80, seed=4, over=timedelta(days=35), items=3)
    until = events[-1].time + timedelta(days=3)
    table = history_table(points(events, ITEM_STATS), ITEM_STATS, to_us(until))
    assert len(table) > len(events)
    for row in table.to_pylist():
        as_of = from_us(row["as_of_us"])
        assert row["event_timestamp"] == as_of <= until
        expected = expected_features(events, "item_id", as_of)[row["item_id"]]
        assert {name: row[name] for name in WINDOW_FEATURES} == expected


def as_of_by_scanning(events: list[InteractionEvent], shown: InteractionEvent) -> dict[str, float | None]:
    """Return what was known of the impression's item and user just before it, by scanning everything."""
    known: dict[str, float | None] = {}
    for view, key in VIEWS.items():
        rows = expected_features(events, key, shown.time)
        row = rows.get(getattr(shown.data, key))
        known |= {f"{view}__{name}": row[name] if row else None for name in WINDOW_FEATURES}
    return known


def features_in(row: pd.Series) -> dict[str, float | None]:
    names = [f"{view}__{name}" for view in VIEWS for name in WINDOW_FEATURES]
    return {name: None if pd.isna(row[name]) else row[name] for name in names}


def test_the_training_set_equals_a_brute_force_join_of_every_impression(tmp_path: Path) -> None:
    events = random_events(250, seed=6, over=timedelta(days=3), users=5, items=5)
    # Two of the same user and item at one moment, and an entity whose whole history is still to come.
    events += [interaction(id=f"twin-{n}", user="user-1", item="item-1", time=events[100].time) for n in range(2)]
    events += [interaction(id="debut", user="newcomer", item="novelty", time=events[50].time)]
    events.sort(key=lambda e: e.time)
    until = events[-1].time + timedelta(hours=1)
    archive = archive_of(tmp_path, events)
    build_history(tmp_path, archive, SETTINGS, until=until)
    table = training_set(tmp_path, archive, SETTINGS, until=until)
    shown = {event.id: event for event in events if isinstance(event, Impression)}
    assert sorted(table["event_id"]) == sorted(shown)
    for _, row in table.iterrows():
        assert features_in(row) == as_of_by_scanning(events, shown[row["event_id"]]), row["event_id"]
    [debut] = [row for _, row in table.iterrows() if row["event_id"] == "debut"]
    assert set(features_in(debut).values()) == {None}


def test_features_logged_while_serving_equal_the_point_in_time_join(tmp_path: Path) -> None:
    events = random_events(150, seed=8, over=timedelta(days=2), users=4, items=4)
    clock = ManualClock(events[0].time)
    engine, reader = FeatureEngine.open(tmp_path, SETTINGS, clock), FeatureReader.open(tmp_path, SETTINGS, clock)
    logged: dict[str, dict[str, float | None]] = {}
    for offset, event in enumerate(events):
        clock.time = max(clock.time, event.time)
        engine.sweep()
        if isinstance(event, Impression) and event.data.item_id:
            [item] = reader.item_features([event.data.item_id])
            [user] = reader.user_features([event.data.user_id])
            same_moment = [e for e in events[:offset] if e.time == event.time]
            if not same_moment:  # serving saw those already; history orders by time alone
                rows = {"item_stats": item, "user_stats": user}
                logged[event.id] = {f"{v}__{n}": rows[v].values[n] for v in VIEWS for n in WINDOW_FEATURES}
        engine.apply(located([event], first=offset))
        engine.flush()
    engine.close()
    reader.close()
    archive = archive_of(tmp_path, events)
    until = events[-1].time + timedelta(hours=1)
    build_history(tmp_path, archive, SETTINGS, until=until)
    table = training_set(tmp_path, archive, SETTINGS, until=until).set_index("event_id")
    assert len(logged) > 60
    assert {event_id: features_in(table.loc[event_id]) for event_id in logged} == logged


def test_a_click_labels_the_newest_earlier_impression_of_its_user_item_and_trace(tmp_path: Path) -> None:
    def at(minutes: float) -> datetime:
        return START + timedelta(minutes=minutes)

    events = [
        interaction(id="clicked-first", time=at(0), trace="t", position=3),
        interaction(id="clicked", time=at(1), trace="t", position=4),
        interaction("click", id="c1", time=at(2), trace="t"),
        interaction(id="other-trace", time=at(2), trace="u"),
        interaction(id="other-user", time=at(1), trace="t", user="user-2"),
        interaction(id="too-long-ago", time=at(3), trace="v"),
        interaction("click", id="c2", time=at(34), trace="v"),
        interaction(id="not-known-yet", time=at(80), trace="w"),
    ]
    archive = archive_of(tmp_path, events)
    build_history(tmp_path, archive, SETTINGS, until=at(100))
    table = training_set(tmp_path, archive, SETTINGS, until=at(100)).set_index("event_id")
    assert table["clicked"].to_dict() == {
        "clicked-first": 0,
        "clicked": 1,
        "other-trace": 0,
        "other-user": 0,
        "too-long-ago": 0,
    }
    assert table.loc["clicked", "position"] == 4
    later = training_set(tmp_path, archive, SETTINGS, until=at(100), since=at(1.5))
    assert list(later["event_id"]) == ["other-trace", "too-long-ago"]


def test_a_training_set_without_history_says_to_build_it(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, [interaction()])
    with pytest.raises(InvalidInput, match="build it"):
        training_set(tmp_path, archive, SETTINGS, until=START + timedelta(days=1))


def online_rows(home: Path, clock: ManualClock, events: list[InteractionEvent]) -> dict[str, dict[str, object]]:
    reader = FeatureReader.open(home, SETTINGS, clock)
    items = sorted({e.data.item_id for e in events if e.data.item_id})
    users = sorted({e.data.user_id for e in events})
    rows = [*reader.item_features(items), *reader.user_features(users)]
    reader.close()
    return {row.entity_id: dict(row.values) for row in rows if row.status == "fresh"}


def test_rebuilt_from_the_archive_the_online_store_is_what_it_was_live(tmp_path: Path) -> None:
    events = random_events(300, seed=10, over=timedelta(days=9))
    late = interaction(id="late", item="late-item", time=START - timedelta(days=20))
    records = [stored(event, n) for n, event in enumerate(events)]
    records.append(stored(late, 300))
    records[-1] = type(records[-1])(**{**records[-1].__dict__, "timestamp_ms": to_us(events[-1].time) // 1000})
    clock = ManualClock(START)
    engine = FeatureEngine.open(tmp_path, SETTINGS, clock)
    for n, event in enumerate(events):
        clock.time = max(clock.time, event.time)
        engine.apply(located([event], first=n, arrived=True))
        if n % 20 == 0:
            engine.sweep()
    assert len(engine.apply(located([late], first=300)).late) == 1
    clock.advance(hours=2)
    engine.sweep()
    engine.close()
    live = online_rows(tmp_path, clock, events)
    ArchiveWriter(tmp_path / "archive").write(TOPIC, records)

    report = rebuild(tmp_path, tmp_path / "archive", SETTINGS, clock)
    assert (report.events, report.positions) == (300, {0: 300})
    assert online_rows(tmp_path, clock, events) == live
    again = FeatureEngine.open(tmp_path, SETTINGS, clock)
    assert again.apply(located(events[-5:], first=296)).applied == sum(
        not isinstance(e, Impression | Click) and type(e).__name__ != "Watch" for e in events[-5:]
    )
    again.close()


def test_a_rebuild_repairs_damaged_state_and_clears_rows_that_no_event_explains(tmp_path: Path) -> None:
    clock = ManualClock(START + timedelta(hours=1))
    engine = FeatureEngine.open(tmp_path, SETTINGS, clock)
    engine.apply(located([interaction(id="a", item="kept"), interaction(id="b", item="not archived", user="u2")]))
    engine.flush()
    engine.close()
    archive = archive_of(tmp_path, [interaction(id="a", item="kept"), interaction("like", id="l", item="kept")])
    rebuild(tmp_path, archive, SETTINGS, clock)
    rows = FeatureReader.open(tmp_path, SETTINGS, clock).item_features(["kept", "not archived"])
    assert [row.values["impressions_day"] for row in rows] == [1, 0]
    (tmp_path / "features" / "state.db").write_bytes(b"damaged" * 1000)
    with pytest.raises(IntegrityError):
        FeatureEngine.open(tmp_path, SETTINGS, clock)
    assert rebuild(tmp_path, archive, SETTINGS, clock).entities == 2


def test_a_rebuild_refuses_an_archive_that_is_behind_and_a_home_in_use(tmp_path: Path) -> None:
    clock = ManualClock(START + timedelta(hours=1))
    engine = FeatureEngine.open(tmp_path, SETTINGS, clock)
    engine.apply(located([interaction(id=f"evt-{n}") for n in range(3)]))
    archive = archive_of(tmp_path, [interaction(id="evt-0")])
    with pytest.raises(Unavailable, match="stop it first"):
        rebuild(tmp_path, archive, SETTINGS, clock)
    engine.close()
    with pytest.raises(IntegrityError, match="archive ends at 0, state at 2"):
        rebuild(tmp_path, archive, SETTINGS, clock)
    assert rebuild(tmp_path, archive, SETTINGS, clock, allow_behind=True).positions == {0: 0}
    engine = FeatureEngine.open(tmp_path, SETTINGS, clock)
    again = engine.apply(located([interaction(id=f"evt-{n}") for n in range(3)]))
    assert (again.applied, again.duplicates) == (2, 1)
    engine.close()

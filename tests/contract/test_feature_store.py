"""What every online store behind the features promises, on real SQLite and real Redis."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigurationError, Unavailable
from core.settings import FeatureSettings, load_settings
from features.engine import FeatureEngine
from features.interactions import to_us
from features.online import OnlineStore
from features.reader import FeatureReader
from features.schema import AS_OF, ITEM_STATS, USER_STATS, WINDOW_FEATURES
from infra.debian_packages import Program
from infra.redis_server import RedisServer, find_redis, running_redis
from tests.unit.features.interaction_factory import ManualClock, expected_features, interaction, located, random_events

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
OpenStore = Callable[[], OnlineStore]


@pytest.fixture(scope="module")
def redis_program() -> Program:
    try:
        return find_redis(load_settings().home)
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def redis(redis_program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(redis_program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest) -> FeatureSettings:
    if request.param == "sqlite":
        return FeatureSettings()
    server = request.getfixturevalue("redis")
    return FeatureSettings(online_store="redis", redis_url=f"{server.url},db={_next_database()}")


_databases = iter(range(1, 16))


def _next_database() -> int:
    return next(_databases)  # each test has a database of its own


@pytest.fixture
def open_store(tmp_path: Path, settings: FeatureSettings) -> Iterator[OpenStore]:
    opened: list[OnlineStore] = []

    def open_() -> OnlineStore:
        opened.append(OnlineStore.open(tmp_path, settings))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


def write(store: OnlineStore, ids: list[str], *, at: datetime = NOW, value: float = 1.0, view=ITEM_STATS) -> None:
    rows = np.full((len(ids), len(WINDOW_FEATURES)), value)
    store.write(view, ids, np.full(len(ids), to_us(at), np.int64), rows)


def test_what_was_written_is_read_back_to_the_bit_and_to_the_microsecond(open_store: OpenStore) -> None:
    store = open_store()
    at = NOW.replace(microsecond=123_457)
    values = np.arange(12, dtype=np.float64)[None] + np.array([0, 0, 1 / 3, 0.125] * 3)
    store.write(ITEM_STATS, ["item-1"], np.array([to_us(at)], np.int64), values)
    [row] = store.read(ITEM_STATS, ["item-1"])
    assert row is not None
    assert row.pop(AS_OF) == to_us(at)
    assert list(row) == list(WINDOW_FEATURES)
    for (name, read), written in zip(row.items(), values[0], strict=True):
        assert read == (written if name.startswith(("ctr", "time")) else int(written))


def test_rows_come_in_the_order_asked_with_none_for_the_unknown_and_repeats_repeated(open_store: OpenStore) -> None:
    store = open_store()
    ids = [f"item-{n}" for n in range(1200)]
    for n, chunk in enumerate((ids[:600], ids[600:])):
        write(store, chunk, value=n + 1)
    rows = store.read(ITEM_STATS, ["item-1199", "nobody", "item-0", "item-1199", *ids])
    assert rows[1] is None
    found = [row["impressions_day"] if row else None for row in (rows[0], rows[2], rows[3])]
    assert found == [2, 1, 2]
    assert [row["clicks_day"] for row in rows[4:] if row] == [1] * 600 + [2] * 600
    assert store.read(ITEM_STATS, []) == []


def test_a_later_row_replaces_an_earlier_one(open_store: OpenStore) -> None:
    store = open_store()
    write(store, ["item-1"], value=1)
    write(store, ["item-1"], value=2, at=NOW + timedelta(microseconds=1))
    [row] = store.read(ITEM_STATS, ["item-1"])
    assert row is not None and row["impressions_day"] == 2


def test_an_item_and_a_user_of_the_same_id_have_rows_of_their_own(open_store: OpenStore) -> None:
    store = open_store()
    write(store, ["same"], value=1, view=ITEM_STATS)
    assert store.read(USER_STATS, ["same"]) == [None]
    write(store, ["same"], value=2, view=USER_STATS)
    [item], [user] = store.read(ITEM_STATS, ["same"]), store.read(USER_STATS, ["same"])
    assert item is not None and user is not None
    assert (item["clicks_week"], user["clicks_week"]) == (1, 2)


def test_rows_survive_a_restart_and_are_seen_by_another_reader(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    write(first, ["ünï:コード/\"quoted\" 'id'"], value=3)
    first.close()
    for store in (second, open_store()):
        [row] = store.read(ITEM_STATS, ["ünï:コード/\"quoted\" 'id'"])
        assert row is not None and row["impressions_month"] == 3


def test_a_row_older_than_the_ttl_reads_as_missing_and_says_how_old_it_is(
    open_store: OpenStore, settings: FeatureSettings
) -> None:
    clock = ManualClock(NOW)
    store = open_store()
    write(store, ["item-1"])
    reader = FeatureReader(store, settings, clock)
    clock.time = NOW + timedelta(days=settings.ttl_days)
    [row] = reader.item_features(["item-1"])
    assert (row.status, row.values["clicks_day"]) == ("fresh", 1)
    clock.advance(seconds=1)
    [row, absent] = reader.item_features(["item-1", "item-2"])
    assert (row.status, row.as_of) == ("stale", NOW)
    assert (absent.status, absent.as_of) == ("missing", None)
    assert set(row.values.values()) == set(absent.values.values()) == {None}
    assert set(row.values) == set(WINDOW_FEATURES)


def test_the_engine_leaves_the_newest_counts_in_the_store_even_when_its_clock_stands_still_or_goes_back(
    tmp_path: Path, settings: FeatureSettings
) -> None:
    clock = ManualClock(NOW)
    engine = FeatureEngine.open(tmp_path, settings, clock)
    reader = FeatureReader.open(tmp_path, settings, clock)
    seen = []
    for n in range(4):
        if n == 2:
            clock.advance(seconds=-30)
        engine.apply(located([interaction(id=f"evt-{n}", time=NOW - timedelta(minutes=n))], first=n))
        engine.flush()
        [row] = reader.item_features(["item-1"])
        seen.append((row.values["impressions_day"], row.as_of))
    assert [count for count, _ in seen] == [1, 2, 3, 4]
    times = [as_of for _, as_of in seen if as_of is not None]
    assert times == sorted(set(times)), "the event time of a row must grow with every push"
    reader.close()
    engine.close()


def test_what_the_engine_counted_is_what_the_reader_finds(tmp_path: Path, settings: FeatureSettings) -> None:
    events = random_events(400, seed=5)
    clock = ManualClock(events[-1].time + timedelta(hours=1))
    engine = FeatureEngine.open(tmp_path, settings, clock)
    engine.apply(located(events))
    entities = sum(len(expected_features(events, key, clock.now())) for key in ("item_id", "user_id"))
    assert (engine.flush(), engine.flush()) == (entities, 0)
    with_reader = FeatureReader.open(tmp_path, settings, clock)
    for key, read in (("item_id", with_reader.item_features), ("user_id", with_reader.user_features)):
        expected = expected_features(events, key, clock.now())
        assert {row.entity_id: dict(row.values) for row in read(sorted(expected))} == expected
    with_reader.close()
    engine.close()


def test_a_redis_that_is_down_is_unavailable_and_its_rows_come_when_it_is_back(
    redis_program: Program, tmp_path: Path
) -> None:
    server = RedisServer(redis_program, tmp_path)
    server.start()
    settings = FeatureSettings(online_store="redis", redis_url=server.url)
    clock = ManualClock(NOW)
    engine = FeatureEngine.open(tmp_path, settings, clock)
    reader = FeatureReader.open(tmp_path, settings, clock)
    try:
        server.stop()
        engine.apply(located([interaction(time=NOW)]))
        with pytest.raises(Unavailable, match="redis"):
            engine.flush()
        with pytest.raises(Unavailable, match="redis"):
            reader.item_features(["item-1"])
        assert engine.pending() == 2
        server.start()
        assert engine.flush() == 2
        assert reader.item_features(["item-1"])[0].values["impressions_day"] == 1
    finally:
        reader.close()
        engine.close()
        server.stop()


def test_a_redis_address_without_a_port_is_refused_with_its_setting_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"features\.redis_url"):
        OnlineStore.open(tmp_path, FeatureSettings(online_store="redis", redis_url="somewhere"))

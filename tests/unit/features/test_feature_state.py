"""The state on disk: what a crash leaves, what processes share, how memory stays bounded, and the format before."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import IntegrityError
from features import seen_ids, state
from features.delta import Delta
from features.seen_ids import digest
from features.state import FeatureState
from features.state_format import remove_foreign_runs

HOUR_US = 3_600_000_000
DAY = 20_000


def delta(first: int, count: int, *, entity: str = "item-1", day: int = DAY) -> Delta:
    """`count` impressions of one entity in one hour."""
    start = day * 24 * HOUR_US
    ids = {digest(f"evt-{number}"): day for number in range(first, first + count)}
    return Delta(ids, {(0, entity, start): [count, 0, 0]}, {(0, entity): start + first})


def append(to: FeatureState, what: Delta) -> None:
    with to.transaction():
        to.append(what)


def seen(of: FeatureState, first: int, count: int) -> int:
    with of.transaction():
        return len(of.seen([digest(f"evt-{number}") for number in range(first, first + count)]))


def impressions(of: FeatureState) -> dict[str, int]:
    names, buckets = of.totals(0)
    hours = buckets.width_us == HOUR_US
    found = dict.fromkeys(names, 0)
    for index, counts in zip(buckets.group[hours].tolist(), buckets.counts[hours].tolist(), strict=True):
        found[names[index]] += counts[0]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def opened(path: Path) -> Iterator[FeatureState]:
    made = FeatureState.open(path)
    yield made
    made.close()


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "RUN_IDS", 50)
    monkeypatch.setattr(state, "MAX_FOLD_ROWS", 5)


def test_what_was_appended_and_not_folded_is_there_after_a_crash(path: Path, opened: FeatureState) -> None:
    append(opened, delta(0, 10))
    append(opened, delta(10, 5, entity="item-2"))
    again = FeatureState.open(path)  # nothing was closed, as after kill -9
    assert seen(again, 0, 20) == 15
    assert again.dirty_count() == 2
    assert impressions(again) == {"item-1": 10, "item-2": 5}
    again.close()


def test_a_batch_that_fails_leaves_no_trace_in_memory_either(opened: FeatureState) -> None:
    append(opened, delta(0, 10))
    with pytest.raises(RuntimeError, match="late"), opened.transaction():
        opened.append(delta(10, 10))
        raise RuntimeError("late")
    assert seen(opened, 0, 20) == 10
    assert impressions(opened) == {"item-1": 10}


@pytest.mark.usefixtures("small_runs")
def test_processes_that_share_a_state_see_each_others_batches_folds_and_runs(path: Path, opened: FeatureState) -> None:
    other = FeatureState.open(path)
    for number in range(20):
        append((opened, other)[number % 2], delta(number * 10, 10, entity=f"item-{number % 3}"))
        assert seen(opened, 0, 400) == seen(other, 0, 400) == (number + 1) * 10
        if number % 7 == 3:
            assert sum(impressions(other).values()) == (number + 1) * 10
    assert impressions(opened) == impressions(other) == {"item-0": 70, "item-1": 70, "item-2": 60}
    other.close()


@pytest.mark.usefixtures("small_runs")
def test_memory_holds_at_most_a_run_of_ids_and_a_bounded_number_of_counts(path: Path, opened: FeatureState) -> None:
    for number in range(100):
        append(opened, delta(number * 10, 10, entity=f"item-{number}"))
        ids, counts = opened.in_memory()
        assert ids < 50
        assert counts < 5
    assert opened.kept_ids() == 1_000
    assert seen(opened, 0, 2_000) == 1_000
    files = list((path.parent / "ids").iterdir())
    assert 1 <= len(files) <= 6
    assert sum(file.stat().st_size for file in files) <= 1_000 * seen_ids.ID_BYTES


@pytest.mark.usefixtures("small_runs")
def test_forgetting_a_day_drops_its_ids_from_memory_and_files(path: Path, opened: FeatureState) -> None:
    append(opened, delta(0, 120, day=DAY))
    append(opened, delta(200, 20, day=DAY + 1))
    with opened.transaction():
        opened.forget_before(DAY + 1)
    assert seen(opened, 0, 300) == opened.kept_ids() == 20
    assert sum(file.stat().st_size for file in (path.parent / "ids").iterdir()) == 20 * seen_ids.ID_BYTES


@pytest.mark.usefixtures("small_runs")
def test_a_run_that_a_crash_left_unnoted_is_removed_and_one_that_is_missing_is_refused(path: Path) -> None:
    first = FeatureState.open(path)
    append(first, delta(0, 60))
    first.close()
    [run] = (path.parent / "ids").iterdir()
    stray = run.with_name(run.name.replace("1.ids", "9.ids"))
    stray.write_bytes(run.read_bytes())
    FeatureState.open(path).close()
    assert list((path.parent / "ids").iterdir()) == [run]
    run.unlink()
    with pytest.raises(IntegrityError, match="rebuild"):
        FeatureState.open(path)


@pytest.mark.usefixtures("small_runs")
def test_runs_of_a_state_that_was_replaced_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in ("old", "new"):
        made = FeatureState.open(tmp_path / name)
        append(made, delta(0, 60))
        made.close()
    assert len(list((tmp_path / "ids").iterdir())) == 2
    remove_foreign_runs(tmp_path / "new")
    [left] = (tmp_path / "ids").iterdir()
    made = FeatureState.open(tmp_path / "new")
    assert seen(made, 0, 100) == 60
    made.close()
    assert left.exists()


VERSION_1 = """
CREATE TABLE fences (topic TEXT, part INTEGER, epoch TEXT, last_offset INTEGER,
    PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE seen (id BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_by_day ON seen (day);
CREATE TABLE counts (
    view INTEGER, entity TEXT, width INTEGER, start_us INTEGER,
    impressions INTEGER NOT NULL, clicks INTEGER NOT NULL, time_spent_ms INTEGER NOT NULL,
    PRIMARY KEY (view, entity, width, start_us)) WITHOUT ROWID;
CREATE TABLE dirty (
    place INTEGER PRIMARY KEY, view INTEGER, entity TEXT, seq INTEGER NOT NULL, newest_us INTEGER NOT NULL,
    UNIQUE (view, entity));
CREATE TABLE entities (view INTEGER, entity TEXT, pushed_us INTEGER NOT NULL, due_us INTEGER,
    PRIMARY KEY (view, entity)) WITHOUT ROWID;
CREATE INDEX entities_by_due ON entities (due_us);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('seq', 41), ('forgotten_before_day', 19990);
INSERT INTO fences VALUES ('content.interactions.v1', 2, 'epoch', 77);
INSERT INTO entities VALUES (0, 'item-1', 123, NULL);
PRAGMA user_version = 1;
"""


def test_a_state_of_the_format_before_keeps_its_counts_ids_and_fences_and_is_pushed_again(path: Path) -> None:
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    db.executemany("INSERT INTO seen VALUES (?, ?)", [(digest(f"evt-{n}"), DAY) for n in range(500)])
    db.execute("INSERT INTO counts VALUES (0, 'item-1', 0, ?, 500, 0, 0)", (DAY * 24 * HOUR_US,))
    db.commit()
    db.close()
    for _ in range(2):  # and it is opened again as any other
        migrated = FeatureState.open(path)
        assert seen(migrated, 0, 600) == 500
        assert impressions(migrated) == {"item-1": 500}
        assert migrated.fences() == {("content.interactions.v1", 2): ("epoch", 77)}
        assert migrated.dirty_count() == 1
        with migrated.transaction():
            assert migrated.forgotten_before_day() == 19_990
        migrated.close()


def test_many_rows_are_written_whatever_their_number(path: Path, opened: FeatureState) -> None:
    counts = {(0, f"item-{n}", DAY * 24 * HOUR_US): [1, 0, n] for n in range(3_001)}
    append(opened, Delta({}, counts, {key[:2]: 1 for key in counts}))
    claims, buckets = opened.claim(2_500, 10)
    assert len(claims) == 2_500
    assert len(buckets.group) == 5_000
    opened.settle(claims, [None] * 2_000 + [99] * 500)
    assert opened.dirty_count() == 501
    assert opened.mark_due(100, [0, 0], 0) == 500
    assert opened.dirty_count() == 1_001

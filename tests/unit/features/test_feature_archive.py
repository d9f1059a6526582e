"""The archive: whole files, every event once, nothing lost that could not be read."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.errors import InvalidInput
from core.events import encode_frame
from core.ports import StoredRecord
from features.archive import ArchiveWriter, archived_positions, read_archive, read_events
from tests.unit.features.interaction_factory import START, TOPIC, interaction, random_events, stored


def raw(value: bytes | None, offset: int, partition: int = 0) -> StoredRecord:
    return StoredRecord(TOPIC, partition, offset, "key", value, {}, int(START.timestamp() * 1000))


def test_every_event_comes_back_as_it_was_in_the_order_of_arrival(tmp_path: Path) -> None:
    events = random_events(60, seed=1)
    records = [stored(event, n, partition=n % 3) for n, event in enumerate(events)]
    ArchiveWriter(tmp_path).write(TOPIC, records[30:])
    ArchiveWriter(tmp_path).write(TOPIC, records[:30])
    found = [archived.event for archived in read_events(tmp_path, TOPIC)]
    assert sorted(found, key=lambda e: e.id) == sorted(events, key=lambda e: e.id)
    assert [e.time for e in found] == sorted(e.time for e in events)
    assert archived_positions(tmp_path, TOPIC) == {0: 57, 1: 58, 2: 59}


def test_files_are_named_by_day_partition_and_offsets_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    day_later = interaction(id="b", time=START + timedelta(days=1))
    records = [stored(interaction(id="a"), 7, 2), stored(day_later, 8, 2)]
    writer = ArchiveWriter(tmp_path)
    first = writer.write(TOPIC, records)
    assert [str(path.relative_to(tmp_path / TOPIC)) for path in first] == [
        "date=2026-03-10/00002-00000000000000000007-00000000000000000007.parquet",
        "date=2026-03-11/00002-00000000000000000008-00000000000000000008.parquet",
    ]
    assert writer.write(TOPIC, records) == first
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == first
    assert len(read_archive(tmp_path, TOPIC)) == 2


def test_overlapping_files_after_a_replay_yield_each_event_once(tmp_path: Path) -> None:
    events = [interaction(id=f"evt-{n}") for n in range(10)]
    records = [stored(event, n) for n, event in enumerate(events)]
    writer = ArchiveWriter(tmp_path)
    writer.write(TOPIC, records[:6])
    writer.write(TOPIC, records[3:])
    writer.write(TOPIC, [stored(events[2], 77)])  # the producer sent it twice
    assert [a.event.id for a in read_events(tmp_path, TOPIC)] == [event.id for event in events]


def test_a_topic_made_anew_reuses_offsets_without_hiding_events(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    writer.write(TOPIC, [stored(interaction(id="old"), 0)], epoch="first")
    writer.write(TOPIC, [stored(interaction(id="new"), 0)], epoch="second")
    assert {a.event.id for a in read_events(tmp_path, TOPIC)} == {"old", "new"}


def test_frames_are_split_and_bytes_that_are_no_event_are_kept_with_the_reason(tmp_path: Path) -> None:
    frame = encode_frame([interaction(id="a"), interaction("watch", id="b", seconds=2.5)])
    broken = frame[:-1] + b',{"type":"nonsense"}]'
    ArchiveWriter(tmp_path).write(TOPIC, [raw(frame, 0), raw(b"\xff{", 1), raw(None, 2), raw(broken, 3)])
    rows = read_archive(tmp_path, TOPIC).to_pylist()
    assert [(r["offset"], r["position_in_frame"], r["event_id"], bool(r["error"])) for r in rows] == [
        (0, 0, "a", False),
        (0, 1, "b", False),
        (1, 0, None, True),
        (2, 0, None, True),
        (3, 2, None, True),
    ]
    assert rows[1]["watched_s"] == 2.5
    assert rows[2]["event"] == b"\xff{" and rows[3]["event"] is None
    assert rows[4]["event"] == b'{"type":"nonsense"}'


def test_days_can_be_read_alone(tmp_path: Path) -> None:
    for n in range(3):
        ArchiveWriter(tmp_path).write(TOPIC, [stored(interaction(id=f"d{n}", time=START + timedelta(days=n)), n)])
    middle = date(2026, 3, 11)
    assert [a.event.id for a in read_events(tmp_path, TOPIC, since=middle, until=middle)] == ["d1"]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="disk full"):
        ArchiveWriter(tmp_path).write(TOPIC, [stored(interaction(), 0)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_record_times_no_calendar_knows_do_not_stop_the_archive(tmp_path: Path) -> None:
    for offset, at in enumerate((-1, 2**62)):
        record = StoredRecord(TOPIC, 0, offset, "key", b"x", {}, at)
        ArchiveWriter(tmp_path).write(TOPIC, [record])
    assert [row["offset"] for row in read_archive(tmp_path, TOPIC).select(["offset"]).to_pylist()] == [0, 1]


def test_a_topic_without_events_and_an_archive_without_files(tmp_path: Path) -> None:
    assert list(read_events(tmp_path, TOPIC)) == []
    assert len(read_archive(tmp_path, TOPIC)) == 0
    with pytest.raises(InvalidInput, match=r"index\.entries\.v1"):
        ArchiveWriter(tmp_path).write("index.entries.v1", [])

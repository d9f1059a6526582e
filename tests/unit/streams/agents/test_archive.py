"""The archive agent over a real writer: nothing is acknowledged before it is on disk, and nothing is read twice."""

import asyncio
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core import topics
from core.events import Event, Impression, Interaction, ItemRef, UploadDeleted, encode, encode_frame
from core.ports import StoredRecord
from core.settings import StreamSettings
from features.archive import ArchiveWriter, read_archive, read_events
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agents.archive import NAME, Archiver
from streams.envelope import Abandoned

START = datetime(2026, 11, 22, 23, 59, 58, tzinfo=UTC)
INTERACTIONS, UPLOADS = topics.INTERACTIONS.name, topics.UPLOADS.name


def impression(number: int) -> Impression:
    data = Interaction(user_id="user-1", item_id=f"item-{number}", surface="home")
    return Impression(id=f"evt-{number}", source="t", time=START, subject="user-1", data=data)


def record(offset: int, value: bytes | None, topic: str = INTERACTIONS, partition: int = 0) -> StoredRecord:
    at = int((START + timedelta(seconds=offset)).timestamp() * 1000)
    return StoredRecord(topic, partition, offset, "key", value, {}, at)


def interactions(numbers: Sequence[int]) -> list[StoredRecord]:
    return [record(number, encode(impression(number))) for number in numbers]


def ids(folder: Path, topic: str = INTERACTIONS) -> list[str]:
    return [archived.event.id for archived in read_events(folder, topic)]


def archiver(folder: Path, recorder: Recorder | None = None, writer: ArchiveWriter | None = None) -> Archiver:
    settings = StreamSettings(backoff_s=0.001)
    return Archiver(writer or ArchiveWriter(folder), recorder or Recorder(), settings, {INTERACTIONS: "a"})


def owned() -> bool:
    return True


async def test_every_record_is_archived_whatever_its_topic_day_or_form(tmp_path: Path) -> None:
    deleted = UploadDeleted(id="up", source="t", time=START, subject="item-1", data=ItemRef(item_id="item-1"))
    frame: list[Event] = [impression(10), impression(11)]
    batch = [
        *interactions(range(4)),  # over midnight: two days, two files
        record(4, encode_frame(frame)),
        record(5, b"{broken"),
        record(6, None),
        record(0, encode(deleted), UPLOADS, partition=2),
    ]
    recorder = Recorder()
    await archiver(tmp_path, recorder).process(batch, owned)
    assert sorted(ids(tmp_path)) == sorted(["evt-0", "evt-1", "evt-2", "evt-3", "evt-10", "evt-11"])
    assert ids(tmp_path, UPLOADS) == ["up"]
    rows = read_archive(tmp_path, INTERACTIONS).to_pylist()
    broken = next(row for row in rows if row["offset"] == 5)
    assert broken["event"] == b"{broken"
    assert "not a valid event" in broken["error"]
    assert {row["appended_at"].date() for row in rows} == {START.date(), (START + timedelta(days=1)).date()}
    assert recorder.value(metrics.EVENTS, agent=NAME, outcome="applied") == len(batch)


async def test_replayed_batches_cut_in_other_places_are_read_once(tmp_path: Path) -> None:
    for numbers in (range(6), range(6), range(3, 9), range(8, 12)):
        await archiver(tmp_path).process(interactions(numbers), owned)
    assert ids(tmp_path) == [f"evt-{number}" for number in range(12)]


class FullDisk(ArchiveWriter):
    """A disk that takes nothing until `space` is true."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.space = False
        self.tries = 0
        self.tried_often = threading.Event()

    def write(self, topic: str, records: Sequence[StoredRecord], *, epoch: str = "") -> list[Path]:
        self.tries += 1
        if self.tries == 3:
            self.tried_often.set()
        if not self.space:
            raise OSError(28, "No space left on device")
        return super().write(topic, records, epoch=epoch)


async def test_a_batch_is_not_done_before_its_file_is_on_disk(tmp_path: Path) -> None:
    disk, recorder = FullDisk(tmp_path), Recorder()
    agent = archiver(tmp_path, recorder, disk)
    done = asyncio.create_task(agent.process(interactions(range(3)), owned))  # whoever awaits this acks after it
    assert await asyncio.to_thread(disk.tried_often.wait, 20)
    assert not done.done()
    assert "No space left" in agent.waiting_for
    assert recorder.value(metrics.EVENTS, agent=NAME, outcome="applied") == 0
    disk.space = True
    await asyncio.wait_for(done, 20)
    assert agent.waiting_for == ""
    assert ids(tmp_path) == ["evt-0", "evt-1", "evt-2"]
    assert recorder.value(metrics.RETRIES, agent=NAME) >= 3


async def test_a_batch_whose_partition_was_taken_away_is_given_up_and_whoever_has_it_archives_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(Abandoned):
        await archiver(tmp_path, writer=FullDisk(tmp_path)).process(interactions(range(3)), lambda: False)
    assert ids(tmp_path) == []
    await archiver(tmp_path).process(interactions(range(3)), owned)
    assert ids(tmp_path) == ["evt-0", "evt-1", "evt-2"]


async def test_a_file_is_synced_to_disk_before_the_batch_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (calls.append("rename"), replace(self, target))[1])
    await archiver(tmp_path).process(interactions([0]), owned)
    assert calls == ["fsync", "rename", "fsync"], "the bytes, then the name, then the folder that holds the name"

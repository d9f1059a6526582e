import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core.clock import SystemClock
from core.entries import IndexEntry, Version, pack_vector
from core.settings import IndexSettings
from models.index import LiveIndex
from monitoring.catalogue import FRESHNESS
from monitoring.recorder import Recorder
from serving.follower import IndexFollower
from serving.served_index import ServedIndex
from tests.fakes.entry_log import MemoryEntryLog

DIM, MODEL = 8, "visual-search/1"
SETTINGS = IndexSettings(kind="flat")


def entry(item_id: str, time_us: int = 1, **fields) -> IndexEntry:
    vector = np.ones(DIM, dtype=np.float32)
    return IndexEntry(
        item_id=item_id,
        version=Version(time_us, 0),
        media_id="a" * 64,
        owner_id="owner",
        vector=pack_vector(vector / np.linalg.norm(vector)),
        event_id="evt",
        **{"model_version": MODEL, **fields},
    )


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class Replica:
    """One follower over a log, as a gateway replica has it."""

    def __init__(self, log: MemoryEntryLog, folder: Path) -> None:
        self.recorder = Recorder()
        self.served = ServedIndex(LiveIndex(DIM, MODEL, SETTINGS))
        self.follower = IndexFollower(
            served=self.served,
            log=log,
            folder=folder,
            settings=SETTINGS,
            recorder=self.recorder,
            clock=SystemClock(),
        )

    def start(self) -> "Replica":
        self.follower.start()
        until(lambda: self.follower.ready()[0])
        return self

    def has(self, *item_ids: str) -> bool:
        return len(self.served.current) == len(item_ids) and all(self.served.current.get(one) for one in item_ids)

    def close(self) -> None:
        self.follower.close()
        self.served.current.close()


@pytest.fixture
def log() -> MemoryEntryLog:
    return MemoryEntryLog()


@pytest.fixture
def replica(log, tmp_path) -> Iterator[Callable[[], Replica]]:
    made: list[Replica] = []

    def make() -> Replica:
        made.append(Replica(log, tmp_path / "snapshots"))
        return made[-1].start()

    yield make
    for one in made:
        one.close()


def test_it_is_ready_when_it_has_read_what_the_log_held(log, replica):
    for n in range(50):
        log.put(entry(f"item-{n}"))
    assert len(replica().served.current) == 50


def test_it_is_not_ready_while_the_log_does_not_answer(log, tmp_path):
    log.reachable = False
    waiting = Replica(log, tmp_path)
    waiting.follower.start()
    try:
        until(lambda: "does not answer" in waiting.follower.ready()[1])
        assert waiting.follower.ready()[0] is False
        log.reachable = True
        until(lambda: waiting.follower.ready()[0])
    finally:
        waiting.close()


def test_entries_hidings_and_tombstones_take_effect_while_it_runs(log, replica):
    one = replica()
    log.put(entry("item", 1))
    until(lambda: one.has("item"))
    log.put(entry("item", 2, state="hidden"))
    until(lambda: one.served.current.get("item").state == "hidden")
    log.delete("item", Version(3, 0))
    until(lambda: one.has())


def test_the_newest_version_wins_whatever_order_they_arrive_in(log, replica):
    one = replica()
    log.delete("item", Version(5, 0))
    log.put(entry("item", 4))
    until(lambda: one.follower.counts["stale"] == 1)
    assert one.has()


def test_what_is_no_entry_is_counted_and_does_not_stop_what_follows(log, replica):
    one = replica()
    log.append("item", b"not json")
    log.append("item", None, {"riverlight-version": b"yesterday"})
    log.put(entry("other-key"))
    log.append("item", log.partitions[sum(b"other-key") % 2][-1].value)  # the key of one item, the entry of another
    log.put(entry("good"))
    until(lambda: one.served.current.get("good") is not None)
    until(lambda: one.follower.counts["invalid"] == 3)


def test_entries_of_another_model_are_counted_and_never_applied(log, replica):
    one = replica()
    log.put(entry("item", model_version="visual-search/2"))
    until(lambda: one.follower.counts["other_model"] == 1)
    assert one.has()
    assert one.follower.describe()["entries"]["other_model"] == 1


def test_a_restart_goes_on_from_the_snapshot(log, tmp_path):
    first = Replica(log, tmp_path).start()
    log.put(entry("before"))
    until(lambda: first.has("before"))
    first.close()
    log.put(entry("after"))
    second = Replica(log, tmp_path).start()
    try:
        assert second.has("before", "after")
        assert second.follower.counts["applied"] == 1  # the other came with the snapshot
    finally:
        second.close()


@pytest.mark.parametrize("same_name", [False, True])
def test_a_snapshot_of_a_log_that_is_gone_is_not_used(log, tmp_path, same_name):
    first = Replica(log, tmp_path).start()
    log.put(entry("lost"))
    until(lambda: first.has("lost"))
    first.close()
    log.restart_empty(same_name=same_name)
    second = Replica(log, tmp_path).start()
    try:
        until(lambda: second.has())
        log.put(entry("new"))
        until(lambda: second.has("new"))
    finally:
        second.close()


def test_a_log_that_starts_again_while_it_is_followed_makes_the_index_start_again(log, replica):
    one = replica()
    log.put(entry("lost"))
    until(lambda: one.has("lost"))
    log.restart_empty()
    log.put(entry("new"))
    until(lambda: one.has("new"))
    assert one.follower.rebuilds == 1


def test_freshness_is_observed_only_for_entries_written_since_it_started(log, replica):
    log.put(entry("old"), timestamp_ms=1)
    one = replica()
    now_ms = int(time.time() * 1000)
    log.put(entry("new", now_ms * 1000), timestamp_ms=now_ms)
    log.delete("old", Version(now_ms * 1000, 0), timestamp_ms=now_ms)
    until(lambda: one.has("new"))
    assert one.recorder.value(FRESHNESS, system="visual_search", effect="searchable") == 1
    until(lambda: one.recorder.value(FRESHNESS, system="visual_search", effect="gone") == 1)


def test_the_loop_shows_that_it_turns(replica):
    assert replica().follower.alive(within_s=10)


def test_a_live_index_equals_one_built_from_the_log_and_a_tampered_one_does_not(log, replica):
    one = replica()
    for n in range(30):
        log.put(entry(f"item-{n}"))
    log.put(entry("item-3", 2, state="hidden"))
    log.delete("item-4", Version(2, 0))
    log.append("item-5", b"not json")
    until(lambda: one.has(*(f"item-{n}" for n in range(30) if n != 4)))

    proved = one.follower.verify()
    assert (proved.equal, proved.items, proved.records) == (True, 29, 33)
    assert proved.live_hash == proved.rebuilt_hash

    one.served.current.remove("item-7", Version(9, 0))
    one.served.current.apply(entry("item-8", 9, title="changed behind the log's back"))
    one.served.current.apply(entry("stranger"))
    found = one.follower.verify()
    assert not found.equal
    assert (found.missing, found.extra, found.different) == (("item-7",), ("stranger",), ("item-8",))


def test_a_rebuild_reads_the_log_again_and_mends_the_index(log, replica):
    one = replica()
    log.put(entry("item"))
    until(lambda: one.has("item"))
    one.served.current.remove("item", Version(9, 0))
    assert one.follower.rebuild() == 1
    assert one.has("item")
    log.put(entry("after"))
    until(lambda: one.has("item", "after"))


def test_a_snapshot_can_be_asked_for(log, replica, tmp_path):
    log.put(entry("item"))
    one = replica()
    path = one.follower.snapshot()
    assert path.is_dir()
    assert path.parent == tmp_path / "snapshots"


@pytest.mark.parametrize("fields", [{"state": "hidden"}, {"visibility": "private"}, {"unsafe": True}])
def test_what_is_not_to_be_shown_goes_whichever_model_says_so(log, replica, fields):
    one = replica()
    log.put(entry("item", 1))
    until(lambda: one.has("item"))
    log.put(entry("item", 2, model_version="visual-search/2", **fields))
    until(lambda: one.has())

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import Unavailable
from core.events import AnyEvent, encode, encode_frame
from monitoring.catalogue import FRESHNESS, INDEX_ENTRIES
from monitoring.recorder import Recorder
from serving.recommendation.fingerprint import state_hash
from serving.recommendation.follower import LiveFollower
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.served_state import ServedState
from serving.recommendation.topic_log import STREAMS
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.serving.recommendation.live_events import START, created, deleted, did, hidden, make, profile


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class Logs(dict):
    """One log in memory for each stream."""

    def __init__(self) -> None:
        super().__init__({stream: MemoryEntryLog() for stream in STREAMS})

    def put(self, event: AnyEvent, timestamp_ms: int = 0) -> None:
        kind = type(event).__name__
        stream = "uploads" if "Upload" in kind else "users" if "User" in kind else "interactions"
        self[stream].append(event.subject, encode(event), timestamp_ms=timestamp_ms)


class Replica:
    def __init__(self, logs: Logs, folder: Path, **options: float) -> None:
        self.recorder = Recorder()
        self.served = ServedState(empty_state())
        self.follower = LiveFollower(
            served=self.served,
            logs=logs,
            make_state=empty_state,
            folder=folder,
            recorder=self.recorder,
            clock=SystemClock(),
            **options,
        )

    def start(self) -> "Replica":
        self.follower.start()
        until(lambda: self.follower.ready()[0])
        return self

    @property
    def state(self) -> LiveState:
        return self.served.current

    def shows(self, item_id: str) -> bool:
        row = self.state.videos.row_of(item_id)
        return row is not None and self.state.videos.state(row) == "active"


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def replica(logs, tmp_path) -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def start(folder: str = "snapshots") -> Replica:
        made.append(Replica(logs, tmp_path / folder))
        return made[-1].start()

    yield start
    for one in made:
        one.follower.close()


def some_events(logs: Logs) -> None:
    for n in range(200):
        logs.put(created(f"v{n}", n, title=f"title {n}"))
    logs.put(profile("u1", country="BR"))
    for n in range(400):
        logs.put(did(("Impression", "Like", "Click")[n % 3], f"u{n % 7}", f"v{n % 200}", 1_000 + n))
    logs.put(hidden("v3", 2_000))


def test_it_is_ready_when_it_has_read_what_the_logs_held(logs, replica):
    some_events(logs)
    one = replica()
    assert one.state.videos.rows == 200
    assert one.follower.counts == {"applied": 602}
    assert one.follower.describe()["videos"] == 200


def test_it_is_not_ready_while_one_log_does_not_answer(logs, tmp_path):
    logs["users"].reachable = False
    one = Replica(logs, tmp_path)
    one.follower.start()
    try:
        until(lambda: "does not answer" in one.follower.ready()[1])
        logs["users"].reachable = True
        until(lambda: one.follower.ready()[0])
    finally:
        one.follower.close()


def test_events_take_effect_while_it_runs(logs, replica):
    one = replica()
    logs.put(created("v"))
    until(lambda: one.shows("v"))
    logs.put(did("Like", "u", "v", 10))
    until(lambda: one.state.audience.viewer("u", START).known)
    logs.put(profile("u", country="BR"))
    until(lambda: one.state.audience.country("u") == "BR")
    logs.put(hidden("v", 20))
    until(lambda: not one.shows("v"))


def test_an_interaction_in_a_log_read_from_its_beginning_finds_its_video(logs, replica):
    logs.put(did("Like", "u", "v", 10))
    logs.put(created("v"))
    one = replica()
    assert one.follower.counts == {"applied": 2}
    assert one.state.audience.reactions("u").liked == {0}


def test_frames_are_applied_and_what_is_no_event_is_counted_and_does_not_stop_the_rest(logs, replica):
    one = replica()
    good, future = did("Like", "u", "v", 10), did("Like", "u", "w", 10)
    ahead = datetime.now(UTC) + timedelta(days=2) - START
    future = make(type(good), "u", good.data, ahead.total_seconds())
    logs.put(created("v"))
    frame = encode_frame([good, did("Click", "u", "v", 11)])
    logs["interactions"].append("u", b"[" + frame[1:-1] + b',{"type":"nonsense"}]')
    logs["interactions"].append("u", b"not json")
    logs["interactions"].append("u", None)
    logs["interactions"].append("u", encode(future))
    until(lambda: one.follower.counts.get("invalid") == 4)
    assert len(one.state.audience.viewer("u", START).history) == 2
    assert one.recorder.value(INDEX_ENTRIES, index="recommendation", outcome="invalid") == 4


def test_an_event_that_cannot_be_applied_is_counted_and_the_next_one_is_applied(logs, replica, monkeypatch):
    one = replica()
    apply = one.state.videos.apply

    def broken(event: AnyEvent) -> str:
        if event.subject == "bad":
            raise RuntimeError("a defect")
        return apply(event)

    monkeypatch.setattr(one.state.videos, "apply", broken)
    logs.put(created("bad"))
    logs.put(created("good"))
    until(lambda: one.shows("good"))
    until(lambda: one.follower.counts == {"failed": 1, "applied": 1})


def test_a_restart_goes_on_from_the_snapshot(logs, replica):
    some_events(logs)
    first = replica()
    before = state_hash(first.state)
    first.follower.close()
    second = replica()
    assert state_hash(second.state) == before
    assert second.follower.counts == {}
    logs.put(created("after", 5_000))
    until(lambda: second.shows("after"))


def test_a_restart_from_a_snapshot_comes_to_the_state_of_one_that_read_everything(logs, replica):
    some_events(logs)
    first = replica("one")
    first.follower.snapshot()
    first.follower.close()
    for n in range(100):
        logs.put(did("Like", f"u{n % 9}", f"v{n}", 3_000 + n))
    logs.put(deleted("v7", 4_000))
    assert state_hash(replica("one").state) == state_hash(replica("two").state)


@pytest.mark.parametrize("same_name", [False, True])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_snapshot_of_a_log_that_is_gone_is_not_used(logs, replica, stream, same_name):
    some_events(logs)
    first = replica()
    first.follower.close()
    logs[stream].restart_empty(same_name=same_name)
    second = replica()
    assert second.follower.counts != {}
    assert second.state.videos.rows == (0 if stream == "uploads" else 200)
    assert second.state.popularity.top()[0].size == 0 or stream == "users"


def test_a_log_that_starts_again_while_it_is_followed_makes_a_new_state(logs, replica):
    one = replica()
    logs.put(created("lost"))
    until(lambda: one.shows("lost"))
    before = one.state
    logs["uploads"].restart_empty()
    logs.put(created("new"))
    until(lambda: one.shows("new"))
    assert one.state is not before
    assert not one.shows("lost")
    assert one.follower.rebuilds == 1


def test_freshness_is_observed_of_what_happens_now_by_its_effect(logs, replica):
    logs.put(created("old"), timestamp_ms=1)
    one = replica()
    now = datetime.now(UTC)
    now_ms, seconds = int(now.timestamp() * 1_000) + 1_000, (now - START).total_seconds()
    logs.put(created("v", seconds), now_ms)
    logs.put(did("Like", "u", "old", seconds), now_ms)
    logs.put(hidden("v", seconds + 1), now_ms)
    for effect in ("searchable", "gone", "feature"):
        until(lambda effect=effect: one.recorder.value(FRESHNESS, system="recommendation", effect=effect) == 1)


def test_the_loop_shows_that_it_turns_and_how_far_behind_it_is(logs, replica):
    some_events(logs)
    one = replica()
    assert one.follower.alive(within_s=10)
    one.follower.look_at_log()
    assert one.follower.lag == 0


def test_nothing_is_saved_before_it_has_caught_up(logs, tmp_path):
    with pytest.raises(Unavailable, match="nothing to save"):
        Replica(logs, tmp_path).follower.snapshot()

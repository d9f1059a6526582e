import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from core.clock import SystemClock
from core.entries import Version
from core.errors import Unavailable
from core.moderation import encode_moderation
from monitoring.catalogue import FRESHNESS, INDEX_ENTRIES, INDEX_ITEMS
from monitoring.recorder import Recorder
from serving.following.place import Place
from serving.restrictions.follower import RestrictionsFollower
from serving.restrictions.served import Restrictions
from serving.restrictions.state import RestrictionState
from serving.restrictions.view import RestrictionsView
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.serving.restrictions.verdicts import START, put, verdict


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


class Replica:
    def __init__(self, log: MemoryEntryLog) -> None:
        self.recorder, self.served = Recorder(), Restrictions()
        self.follower = RestrictionsFollower(served=self.served, log=log, recorder=self.recorder, clock=SystemClock())

    def enforces(self, item_id: str) -> bool:
        found = self.served.of(item_id, "author")
        return found is not None and found.enforced

    def start(self) -> "Replica":
        self.follower.start()
        return self


@pytest.fixture
def log() -> MemoryEntryLog:
    return MemoryEntryLog()


@pytest.fixture
def replica(log) -> Iterator[Callable[[], Replica]]:
    made: list[Replica] = []

    def make() -> Replica:
        made.append(Replica(log))
        return made[-1]

    yield make
    for one in made:
        one.follower.close()


def test_verdicts_take_effect_and_are_lifted_while_it_runs(log, replica):
    one = replica().start()
    until(lambda: one.served.ready()[0])
    put(log, verdict("p"))
    until(lambda: one.enforces("item"))
    put(log, verdict("p", "demoted", 2, factor=0.5))
    until(lambda: not one.enforces("item"))
    assert one.served.of("item", "author").factor == one.served.post_state("p").factor == 0.5
    log.delete("p", Version(3, 0))
    until(lambda: one.served.post_state("p") is None)
    assert one.follower.counts == {"applied": 3, "stale": 0, "invalid": 0}


def test_it_is_not_ready_before_it_knows_every_verdict_of_the_log(log, replica):
    for number in range(1_500):
        put(log, verdict(f"p{number}", item_ids=[f"item-{number}"]))
    one = replica()
    with pytest.raises(Unavailable, match="list of restrictions has not read the log"):
        one.served.check_ready()
    log.reachable = False
    one.start()
    until(lambda: "does not answer" in one.served.ready()[1])
    log.reachable = True
    until(lambda: one.served.ready()[0])
    one.served.check_ready()
    assert all(one.enforces(f"item-{number}") for number in range(1_500))


def test_after_a_restart_it_knows_what_was_enforced_before_it_answers(log, replica):
    first = replica().start()
    put(log, verdict("p"))
    until(lambda: first.enforces("item"))
    first.follower.close()
    second = replica().start()
    until(lambda: second.served.ready()[0])
    assert second.enforces("item")


def test_what_cannot_be_read_is_counted_and_lifts_nothing(log, replica):
    one = replica().start()
    put(log, verdict("p"))
    log.append("p", b"not json")
    log.append("p", None)  # a removal that does not say of when
    log.append("another", b'{"post_id": "p"}')
    put(log, verdict("q"))
    until(lambda: one.follower.counts == {"applied": 2, "stale": 0, "invalid": 3})
    assert one.served.post_state("p").enforced
    assert one.recorder.value(INDEX_ENTRIES, index="restrictions", outcome="invalid") == 3


def test_a_verdict_under_another_key_changes_nothing(log, replica):
    one = replica().start()
    log.append("q", encode_moderation(verdict("p")))
    until(lambda: one.follower.counts["invalid"] == 1)
    assert one.served.post_state("p") is None


def test_freshness_is_from_the_cause_to_the_effect_of_what_happens_now(log, replica):
    now = datetime.now(UTC)
    now_ms = int(now.timestamp() * 1_000) + 1_000
    put(log, verdict("old", decided_at=now), timestamp_ms=1)
    one = replica().start()
    put(log, verdict("p", event_time=now - timedelta(seconds=100), decided_at=now), now_ms)
    put(log, verdict("q", "demoted", decided_at=now), now_ms)
    put(log, verdict("p", "clear", 2, decided_at=now), now_ms)
    put(log, verdict("p", version=1, decided_at=now), now_ms)  # came before
    for effect in ("gone", "demoted", "searchable"):
        until(lambda effect=effect: one.recorder.value(FRESHNESS, system="moderation", effect=effect) == 1)
    until(lambda: one.follower.counts["stale"] == 1)
    text = one.recorder.render("")[0].decode()
    [summed] = [
        line for line in text.splitlines() if line.startswith("riverlight_freshness_seconds_sum") and "gone" in line
    ]
    assert float(summed.split()[-1]) >= 100  # the cause's time, not the decision's
    since_decided = [line for line in text.splitlines() if line.startswith("riverlight_moderation_verdict_seconds_sum")]
    assert len(since_decided) == 3
    assert all(float(line.split()[-1]) < 100 for line in since_decided)  # a slow decision is not a slow verdict


def test_restricted_items_are_counted_by_state():
    recorder, state = Recorder(), RestrictionState()
    state.apply(verdict("p", item_ids=["a", "b"]))
    state.apply(verdict("q", "demoted", item_ids=["c"], factor=0.5))
    view = RestrictionsView(Restrictions(), recorder=recorder, clock=SystemClock())
    view.serve(state, Place())
    view.measure()
    assert recorder.value(INDEX_ITEMS, index="restrictions", state="enforced") == 2
    assert recorder.value(INDEX_ITEMS, index="restrictions", state="demoted") == 1


def test_a_log_that_starts_again_is_read_again_and_what_was_enforced_is_so_until_then(log, replica):
    one = replica().start()
    put(log, verdict("p"))
    until(lambda: one.served.ready()[0] and one.enforces("item"))
    before = one.served.current
    log.restart_empty()
    put(log, verdict("q", item_ids=["other"]))
    until(lambda: one.served.current is not before)
    assert one.enforces("other")
    assert not one.enforces("item")
    assert one.follower.rebuilds == 1


def test_it_says_where_it_is_and_writes_no_snapshot(log, replica):
    one = replica().start()
    put(log, verdict("p", decided_at=START))
    until(lambda: one.served.ready()[0] and one.follower.counts["applied"] == 1)
    said = one.follower.describe()
    assert said["caught_up"] and said["problem"] == "" and said["epoch"] == "incarnation-1"
    assert sum(said["positions"].values()) == 1
    with pytest.raises(Unavailable, match="nothing to save"):
        one.follower.snapshot()

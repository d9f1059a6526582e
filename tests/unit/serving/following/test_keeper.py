import threading

import pytest

from core.errors import Unavailable
from core.ports import StoredRecord
from monitoring.catalogue import INDEX_LAG, INDEX_SNAPSHOT_AGE
from monitoring.recorder import Recorder
from serving.following.feed import Feed
from serving.following.keeper import Keeper
from serving.following.place import Place, StartAgain
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.serving.following.tally import HandClock, Tally


class Turns(threading.Event):
    """Ends a keeper after so many turns; each takes as long as the keeper wants to wait."""

    def __init__(self, clock: HandClock, number: int, on_turn=lambda: None) -> None:
        super().__init__()
        self._clock, self._left, self._on_turn = clock, number, on_turn

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.passed_s += timeout or 0.0
        self._on_turn()
        self._left -= 1
        return self._left < 0


class Kept:
    """A keeper of one topic, over a feed that has read nothing."""

    def __init__(self, snapshot_interval_s: float = 12.0) -> None:
        self.clock, self.recorder, self.view, self.log = HandClock(), Recorder(), Tally(), MemoryEntryLog(partitions=1)
        self.feed = Feed(self.view)
        self.feed.begin([], Place.beginning({"topic": self.log.epoch()}))
        self.saved_at: list[float] = []
        self.other_logs = 0
        self.keeper = Keeper(
            self.feed,
            self.view,
            {"topic": self.log},
            snapshot_interval_s=snapshot_interval_s,
            on_other_log=self._other_log,
            recorder=self.recorder,
            clock=self.clock,
        )

    def read(self) -> None:
        """Have one more record in the log, and in the feed."""
        self.log.append("key", b"value")
        self.feed.apply("topic", self.log.partitions[0][-1:], lambda: None)

    def run(self, turns: int, *, on_turn=lambda: None, caught_up: bool = True) -> None:
        def turned() -> None:
            self.saved_at += [self.clock.passed_s - 5.0] * (len(self.view.saved) - len(self.saved_at))
            on_turn()

        self.keeper.run(Turns(self.clock, turns, turned), lambda: caught_up)

    def _other_log(self) -> None:
        self.other_logs += 1


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_it_saves_when_the_interval_has_passed_since_the_last_time(kept):
    kept.run(9, on_turn=kept.read)
    assert kept.saved_at == [15.0, 30.0, 45.0]  # it looks every 5 s; the interval is 12 s


def test_it_saves_nothing_when_nothing_changed(kept):
    kept.read()
    kept.run(20)
    assert len(kept.view.saved) == 1
    assert kept.keeper.save() is None
    assert kept.keeper.save(force=True) is not None


def test_what_was_saved_has_the_place_of_what_it_holds(kept):
    for _ in range(3):
        kept.read()
    kept.keeper.save()
    kept.read()
    state, place = kept.view.saved[-1]
    assert state == [b"value"] * 3
    assert place == Place({"topic": kept.log.epoch()}, {"topic": {0: 3}})
    assert kept.recorder.value(INDEX_SNAPSHOT_AGE, index="tally") == kept.clock.passed_s


def test_before_it_has_caught_up_it_only_measures(kept):
    kept.read()
    kept.log.restart_empty()
    kept.run(100, caught_up=False)
    assert kept.view.measured == 100
    assert kept.clock.passed_s == pytest.approx(50.5)  # twice a second
    assert (kept.view.saved, kept.other_logs) == ([], 0)


def test_the_lag_is_what_is_in_the_log_and_not_in_the_feed(kept):
    kept.read()
    for _ in range(7):
        kept.log.append("key", b"unread")
    kept.keeper.look_at_log()
    assert kept.keeper.lag == 7
    assert kept.recorder.value(INDEX_LAG, index="tally") == 7


def test_another_log_under_the_same_name_is_reported_and_not_measured(kept):
    kept.read()
    kept.log.restart_empty()
    kept.log.append("key", b"unread")
    kept.keeper.look_at_log()
    assert (kept.other_logs, kept.keeper.lag) == (1, 0)


def test_a_failure_does_not_end_it(kept, monkeypatch):
    def broken() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(kept.view, "measure", broken)
    kept.read()
    kept.run(2)
    monkeypatch.undo()
    kept.log.reachable = False
    with pytest.raises(Unavailable):
        kept.keeper.look_at_log()
    kept.run(2)
    kept.log.reachable = True
    kept.run(9)
    assert kept.view.saved


def test_a_record_that_was_read_already_is_refused(kept):
    kept.read()
    again: StoredRecord = kept.log.partitions[0][0]
    with pytest.raises(StartAgain, match="offset 0 of topic partition 0 came again"):
        kept.feed.apply("topic", [again], lambda: None)

from collections.abc import Callable, Iterator

import pytest

from core.clock import SystemClock
from core.errors import Unavailable
from monitoring.recorder import Recorder
from serving.following.follower import Follower
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.serving.following.tally import Tally, until

TOPICS = ("videos", "clicks")


@pytest.fixture
def logs() -> dict[str, MemoryEntryLog]:
    return {topic: MemoryEntryLog() for topic in TOPICS}


@pytest.fixture
def follow(logs) -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def start(view: Tally, on_caught_up: Callable[[], None] = lambda: None) -> Follower:
        made.append(
            Follower(
                view,
                logs,
                poll_s=0.01,
                snapshot_interval_s=300,
                recorder=Recorder(),
                clock=SystemClock(),
                on_caught_up=on_caught_up,
            )
        )
        return made[-1]

    yield start
    for one in made:
        one.close()


def write(log: MemoryEntryLog, number: int, value: bytes = b"%d") -> None:
    for n in range(number):
        log.append(f"key-{n}", value % n)


def test_it_is_not_ready_before_it_has_read_what_every_topic_held(logs, follow):
    write(logs["videos"], 1_200)
    write(logs["clicks"], 1_200)
    view = Tally()
    follower = follow(view)
    ready_while_reading: list[bool] = []
    view.on_apply = lambda: ready_while_reading.append(follower.ready()[0])
    assert follower.ready() == (False, "the tally has not read the log to its end yet")
    with pytest.raises(Unavailable, match="nothing to save yet"):
        follower.snapshot()
    follower.start()
    until(lambda: follower.ready()[0])
    assert ready_while_reading == [False] * 2_400
    assert len(view.served[0]) == 2_400


def test_it_tells_when_a_state_has_caught_up_before_it_says_so_itself(logs, follow):
    write(logs["videos"], 10)
    view, told = Tally(), []
    follower = follow(view, lambda: told.append((follower.ready()[0], len(view.served[0]))))
    follower.start()
    until(lambda: follower.ready()[0])
    assert told == [(False, 10)]
    follower.start_again()
    until(lambda: len(told) == 2)


def test_it_reads_one_topic_to_its_end_before_the_next(logs, follow):
    write(logs["clicks"], 1_200)
    write(logs["videos"], 1_200)
    view = Tally()
    follower = follow(view)
    follower.start()
    until(lambda: follower.ready()[0])
    assert [topic for topic, _ in view.applied] == ["videos"] * 1_200 + ["clicks"] * 1_200


def test_after_a_restart_it_reads_what_came_since_the_snapshot_and_nothing_else(logs, follow):
    view = Tally()
    write(logs["videos"], 10)
    first = follow(view)
    first.start()
    until(lambda: first.ready()[0])
    first.close()
    assert len(view.saved) == 1
    write(logs["clicks"], 3, b"after %d")
    view.applied.clear()
    second = follow(view)
    second.start()
    until(lambda: second.ready()[0])
    assert sorted(view.applied) == [("clicks", b"after %d" % n) for n in range(3)]
    assert len(view.served[0]) == 13
    assert sum(view.served[1].of("clicks").values()) == 3
    second.close()
    third = follow(view)
    third.start()
    until(lambda: third.ready()[0])
    third.close()
    assert len(view.saved) == 2  # nothing changed since


def test_what_answers_goes_on_answering_until_the_new_state_has_caught_up(logs, follow):
    write(logs["videos"], 1_200)
    view = Tally()
    follower = follow(view)
    follower.start()
    until(lambda: follower.ready()[0])
    before, _ = view.served
    view.served_sizes.clear()
    after = follower.start_again()
    assert after is not before
    assert (len(after), follower.rebuilds) == (1_200, 1)
    assert view.served_sizes == [1_200]  # never a part of it
    write(logs["clicks"], 1)
    until(lambda: len(view.served[0]) == 1_201)


def test_what_is_served_says_how_far_it_has_read(logs, follow):
    view = Tally()
    follower = follow(view)
    follower.start()
    until(lambda: follower.ready()[0])
    logs["videos"].append("key", b"value")
    until(lambda: sum(view.served[1].of("videos").values()) == 1)
    assert view.served[1].epochs == dict.fromkeys(TOPICS, "incarnation-1")
    assert follower.place.of("videos") == view.served[1].of("videos")

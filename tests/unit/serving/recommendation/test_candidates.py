import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from monitoring.catalogue import RECOMMENDATION_GENERATORS, RECOMMENDATION_SECONDS
from monitoring.recorder import Recorder
from serving.recommendation.candidates import CandidateSource, Proposals, chosen, united, with_rows
from serving.recommendation.ports import Proposal, Viewer
from serving.recommendation.turns import Turns
from tests.unit.serving.recommendation.answering_world import Fixed
from tests.unit.serving.recommendation.live_events import START

VIEWER = Viewer("viewer", START)


class Counting(ThreadPoolExecutor):
    """Threads that count what they were asked to run."""

    submitted = 0

    def submit(self, *args, **kwargs):
        self.submitted += 1
        return super().submit(*args, **kwargs)


@pytest.fixture
def make_source():
    threads = Counting(32)
    recorder = Recorder()

    def make(*generators, deadline_s=5.0, at_once=4, turns=None):
        source = CandidateSource(
            generators,
            threads=threads,
            deadline_s=deadline_s,
            at_once=at_once,
            turns=turns or Turns(deadline_s / 4, deadline_s),
            recorder=recorder,
        )
        source.recorder, source.threads = recorder, threads  # for what a test looks at
        return source

    yield make
    threads.shutdown(wait=False)


def proposals(**rows):
    made = {name: Proposal(np.array(one, np.int64), np.ones(len(one), np.float32)) for name, one in rows.items()}
    return Proposals(made, {}, {})


async def proposed(source):
    return await (await source.propose(VIEWER, 10, lambda found: found))


async def test_all_generators_are_asked_at_the_same_time(make_source):
    together = threading.Barrier(3, timeout=5)  # nobody gets past it alone
    source = make_source(*(Fixed(name, [1], together.wait) for name in "abc"))
    found = await proposed(source)
    assert set(found.proposed) == {"a", "b", "c"}
    assert not found.missing


async def test_a_generator_that_is_late_is_left_out_and_counted_and_the_others_are_not_kept_waiting(make_source):
    release = threading.Event()
    source = make_source(Fixed("slow", [1], release.wait), Fixed("quick", [2]), deadline_s=0.1)
    started = time.perf_counter()
    found = await proposed(source)
    assert time.perf_counter() - started < 3
    release.set()
    assert found.missing == {"slow": "late"}
    assert found.proposed["quick"].rows.tolist() == [2]
    assert source.recorder.value(RECOMMENDATION_GENERATORS, generator="slow", outcome="late") == 1
    assert source.recorder.value(RECOMMENDATION_GENERATORS, generator="quick", outcome="proposed") == 1


async def test_the_time_until_the_first_turn_is_no_generators(make_source):
    turns = Turns(0.01, 30.0, clock_of_this_thread=lambda: time.perf_counter)
    source = make_source(Fixed("a", [1]), deadline_s=0.05, turns=turns)
    with turns.turn():
        asking = asyncio.create_task(proposed(source))
        await asyncio.sleep(0.3)
        assert not asking.done()
        assert source.threads.submitted == 1  # it waits for its turn, which more threads would not hasten
    found = await asking
    assert not found.missing
    assert found.timings_s["a"] < 0.3
    assert source.recorder.value(RECOMMENDATION_SECONDS, stage="turn") >= 0.3


async def test_an_answer_that_is_made_without_a_generator_has_a_turn_of_its_own(make_source):
    turns, holders, release = Turns(0.01, 30.0, clock_of_this_thread=lambda: lambda: 0.0), [], threading.Event()

    def hang():
        holders.append(turns._holder)
        release.wait()

    source = make_source(Fixed("slow", [1], hang), deadline_s=0.05, turns=turns)
    await (await source.propose(VIEWER, 10, lambda found: holders.append(turns._holder)))
    release.set()
    assert None not in holders and holders[0] is not holders[1]


async def test_generators_are_not_asked_for_somebody_who_went_away_before_the_turn(make_source):
    turns, generator = Turns(30.0, 30.0), Fixed("a", [1])
    source = make_source(generator, turns=turns)
    with turns.turn():
        asking = asyncio.create_task(proposed(source))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait({asking})
    await proposed(source)  # in the turn after that of who went away
    assert asking.cancelled() and generator.calls == 1


async def test_an_answer_is_made_in_the_turn_of_its_generators(make_source):
    turns, holders = Turns(30.0, 30.0), []
    source = make_source(Fixed("a", [1], lambda: holders.append(turns._holder)), turns=turns)
    await (await source.propose(VIEWER, 10, lambda found: holders.append(turns._holder)))
    assert holders[0] is holders[1] is not None


async def test_a_generator_that_fails_is_left_out_and_counted(make_source):
    def fail():
        raise ValueError("no such thing")

    source = make_source(Fixed("broken", [1], fail), Fixed("sound", [2]))
    found = await proposed(source)
    assert (dict(found.missing), list(found.proposed)) == ({"broken": "failed"}, ["sound"])
    assert source.recorder.value(RECOMMENDATION_GENERATORS, generator="broken", outcome="failed") == 1


async def test_a_generator_that_hangs_is_not_called_for_ever(make_source):
    release = threading.Event()
    hangs = Fixed("hangs", [1], release.wait)
    source = make_source(hangs, deadline_s=0.02, at_once=2)
    outcomes = [(await proposed(source)).missing["hangs"] for _ in range(5)]
    assert outcomes == ["late", "late", "busy", "busy", "busy"]
    assert hangs.calls == 2
    release.set()
    for _ in range(200):
        if not (found := await proposed(source)).missing:
            break
        await asyncio.sleep(0.01)
    assert found.proposed["hangs"].rows.tolist() == [1]


async def test_rows_that_are_none_and_scores_that_are_none_are_not_taken_over(make_source):
    class Odd:
        name = "odd"

        def propose(self, viewer, limit):
            return Proposal(np.array([5, -1, 5, 6, 7]), np.array([1, 1, 1, np.nan, 0.5], np.float32))

    found = await proposed(make_source(Odd()))
    assert found.proposed["odd"].rows.tolist() == [5, 7]
    assert found.proposed["odd"].scores.tolist() == [1.0, 0.5]


async def test_no_generators_propose_nothing_at_once(make_source):
    started = time.perf_counter()
    assert not (await proposed(make_source())).proposed
    assert time.perf_counter() - started < 2  # of a deadline of five seconds


async def test_an_answer_is_made_by_the_thread_of_the_last_generator(make_source):
    asked = []
    source = make_source(Fixed("a", [1], lambda: asked.append(threading.current_thread())))
    answering = await source.propose(VIEWER, 10, lambda found: threading.current_thread())
    assert await answering is asked[0]


@pytest.mark.parametrize("late", [False, True])
async def test_what_goes_wrong_with_an_answer_is_raised(make_source, late):
    release = threading.Event()
    source = make_source(Fixed("a", [1], release.wait if late else lambda: None), deadline_s=0.05 if late else 5.0)

    def fails(found):
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        await (await source.propose(VIEWER, 10, fails))
    release.set()


async def test_a_late_generator_has_no_second_answer_made(make_source):
    release, answers = threading.Event(), []
    source = make_source(Fixed("slow", [1], release.wait), Fixed("quick", [2]), deadline_s=0.05)
    await (await source.propose(VIEWER, 10, answers.append))
    release.set()
    await asyncio.sleep(0.2)
    assert len(answers) == 1 and answers[0].missing == {"slow": "late"}


def test_the_union_holds_each_video_once_the_best_of_each_generator_first():
    found = united(proposals(a=[1, 2, 3], b=[9, 1, 8]), 10)
    assert found.rows.tolist() == [1, 9, 2, 3, 8]
    places, _ = found.proposed["b"]
    assert found.rows[places].tolist() == [9, 1, 8]


def test_of_too_many_the_last_of_every_generator_are_left_out():
    found = united(proposals(a=range(100), b=range(100, 200)), 10)
    assert found.rows.tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]
    assert [len(places) for places, _ in found.proposed.values()] == [5, 5]


def test_nothing_proposed_is_no_candidates():
    found = united(proposals(a=[]), 10)
    assert len(found.rows) == 0
    assert not found.proposed


def test_a_choice_of_candidates_keeps_who_proposed_them():
    whole = united(proposals(a=[1, 2, 3], b=[3, 2]), 10)
    assert whole.rows.tolist() == [1, 3, 2]
    found = chosen(whole, np.array([1, 0]))
    assert found.rows.tolist() == [3, 1]
    said = {name: found.rows[places].tolist() for name, (places, _) in found.proposed.items()}
    assert said == {"a": [1, 3], "b": [3]}


def test_a_row_that_nobody_proposed_can_be_considered_too_but_once():
    found = with_rows(united(proposals(a=[1, 2]), 10), [2, 7, 7])
    assert found.rows.tolist() == [1, 2, 7]
    assert found.rows[found.proposed["a"][0]].tolist() == [1, 2]

import threading
import time

import pytest

from serving.recommendation.turns import Turns, clock_of_this_thread
from tests.unit.serving.following.tally import until

WITHIN_S = 10.0  # what comes, comes at once: only a failing test waits for so long
SHORT_S = 0.02


def waits():
    return lambda: 0.0


def computes():
    return time.perf_counter


@pytest.fixture
def run():
    """Run a function in a thread; what it raises fails the test."""
    threads, problems = [], []

    def start(call):
        def caught():
            try:
                call()
            except BaseException as error:
                problems.append(error)

        threads.append(threading.Thread(target=caught, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(WITHIN_S)
    assert not any(thread.is_alive() for thread in threads)
    assert not problems


def holding(turns, run):
    """Have a thread hold the turn; return the event that ends it."""
    held, end = threading.Event(), threading.Event()

    def hold():
        with turns.turn():
            held.set()
            assert end.wait(WITHIN_S)

    run(hold)
    assert held.wait(WITHIN_S)
    return end


def taking(turns, run, then=lambda: None):
    """Have a thread ask for a turn; return the event that says that it has one."""
    taken = threading.Event()

    def take():
        with turns.turn():
            taken.set()
            then()

    run(take)
    return taken


def test_threads_have_turns_one_after_another_in_the_order_they_came(run):
    turns, order, inside = Turns(WITHIN_S, WITHIN_S), [], []

    def there(number):
        inside.append(number)
        order.append(number)
        time.sleep(0.001)
        assert inside == [number]
        inside.remove(number)

    end = holding(turns, run)
    for number in range(8):
        before = len(turns._waiting)
        taking(turns, run, lambda number=number: there(number))
        until(lambda before=before: len(turns._waiting) > before)
    end.set()
    until(lambda: len(order) == 8)
    assert order == list(range(8))


@pytest.mark.parametrize(("clock", "longest_s"), [(waits, WITHIN_S * 10), (computes, 2 * SHORT_S)])
def test_who_waits_for_something_loses_the_turn_and_who_computes_on_and_on_does_later(run, clock, longest_s):
    turns = Turns(SHORT_S, longest_s, clock_of_this_thread=clock)
    end = holding(turns, run)
    assert taking(turns, run).wait(WITHIN_S)
    end.set()


def test_who_computes_keeps_it_for_longer(run):
    turns = Turns(SHORT_S, WITHIN_S * 10, clock_of_this_thread=computes)
    end = holding(turns, run)
    taken = taking(turns, run)
    assert not taken.wait(10 * SHORT_S)
    end.set()
    assert taken.wait(WITHIN_S)


def test_who_lost_it_does_not_end_the_turn_of_another(run):
    turns = Turns(SHORT_S, WITHIN_S * 10, clock_of_this_thread=waits)
    first = holding(turns, run)
    release = threading.Event()
    second = taking(turns, run, lambda: release.wait(WITHIN_S))
    assert second.wait(WITHIN_S)
    turns.patience_s = WITHIN_S * 10  # nobody loses a turn from here on
    third = taking(turns, run)
    first.set()  # it ends now, while the second has the turn
    assert not third.wait(10 * SHORT_S)
    release.set()
    assert third.wait(WITHIN_S)


def test_a_turn_ends_with_an_error(run):
    turns = Turns(WITHIN_S, WITHIN_S)
    with pytest.raises(ValueError, match="in the middle"), turns.turn():
        raise ValueError("in the middle")
    assert taking(turns, run).wait(WITHIN_S)


def clock_of(run, work):
    """Have a thread work until it is told to end; return its clock, as others read it, and the event that ends it."""
    clocks, end = [], threading.Event()

    def begin():
        clocks.append(clock_of_this_thread())
        work(end)

    run(begin)
    until(lambda: clocks)
    return clocks[0], end


def compute(end):
    while not end.is_set():
        sum(range(1_000))


def test_the_clock_of_a_thread_runs_while_it_computes(run):
    clock, end = clock_of(run, compute)
    before = clock()
    until(lambda: clock() > before)
    end.set()


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this system does not tell of other threads")
def test_the_clock_of_a_thread_stands_while_it_waits(run):
    clock, end = clock_of(run, lambda end: end.wait(WITHIN_S))
    time.sleep(0.05)  # it has begun to wait by then
    before = clock()
    time.sleep(0.2)
    waited_s = clock() - before
    end.set()
    assert waited_s < 0.05

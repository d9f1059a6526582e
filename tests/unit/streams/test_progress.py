from streams.progress import Snapshot, Watchdog

P0, P1 = ("t", 0), ("t", 1)


def seen(lag=0, committed=0, end=100, epoch="e1", waiting_for="", assigned=frozenset({P0}), other_lag=0) -> Snapshot:
    return Snapshot({P0: lag, P1: other_lag}, {P0: end}, {P0: committed}, {"t": epoch}, assigned, waiting_for)


def test_lag_without_a_commit_for_too_long_ends_the_process():
    dog = Watchdog("agent", no_progress_s=30)
    assert dog.look(seen(lag=5), 0) == ""
    assert dog.look(seen(lag=6), 29) == ""
    assert "6 records behind and no commit for 31 s" in dog.look(seen(lag=6), 31)


def test_commits_idleness_and_waiting_for_a_dependency_are_not_a_standstill():
    dog = Watchdog("agent", no_progress_s=30)
    dog.look(seen(lag=5), 0)
    assert dog.look(seen(lag=5, committed=1), 29) == ""
    assert dog.look(seen(lag=5, committed=1), 50) == ""
    assert dog.look(seen(lag=0, committed=1), 60) == ""
    assert dog.look(seen(lag=5, committed=1), 80) == ""
    assert dog.look(seen(lag=5, committed=1, waiting_for="embedding service"), 95) == ""
    assert dog.look(seen(lag=5, committed=1), 120) == ""
    assert dog.look(seen(lag=5, committed=1), 126) != ""


def test_the_lag_of_partitions_that_another_worker_has_does_not_count_unless_we_have_none():
    dog = Watchdog("agent", no_progress_s=30)
    dog.look(seen(other_lag=9), 0)
    assert dog.look(seen(other_lag=9), 100) == ""
    alone = Watchdog("agent", no_progress_s=30)
    alone.look(seen(other_lag=9, assigned=frozenset()), 0)
    assert alone.look(seen(other_lag=9, assigned=frozenset()), 31) != ""


def test_an_end_that_goes_back_or_a_topic_made_again_ends_the_process():
    dog = Watchdog("agent", no_progress_s=30)
    dog.look(seen(end=100), 0)
    assert "went back from 100 to 3" in dog.look(seen(end=3), 1)
    other = Watchdog("agent", no_progress_s=30)
    other.look(seen(epoch="e1"), 0)
    assert "made again" in other.look(seen(epoch="e2"), 1)

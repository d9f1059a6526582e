"""The short forms of the goals on Apache Kafka; `make chaos` plays the full ones."""

import pytest

from infra.chaos.stage import SERVING
from tests.chaos.conftest import GATEWAY, PlayGoal
from tests.chaos.judging import exact, kept

pytestmark = [pytest.mark.integration, pytest.mark.kafka]


def test_killed_workers_lose_nothing_and_apply_nothing_twice(play: PlayGoal) -> None:
    result = kept(play("G1"))
    assert result.figures["kills_with_uncommitted_records"] > 0, "no kill hit work that was not committed"
    assert len(result.parts) == 4


def test_a_zombie_that_wakes_up_changes_nothing(play: PlayGoal) -> None:
    kept(play("G2"))


def test_what_a_killed_broker_acknowledged_is_there_and_applied_once(play: PlayGoal) -> None:
    result = kept(play("G3"))
    assert result.figures["acknowledged_events"] == result.events


def test_workers_that_come_and_go_lose_nothing(play: PlayGoal) -> None:
    assert kept(play("G4")).figures["joins_and_leaves"] >= 2


def test_poison_becomes_exactly_its_dead_letters_and_replaying_empties_them(play: PlayGoal) -> None:
    result = kept(play("G5"))
    assert result.figures["labels"] == result.figures["dead_letters"] > 10
    assert result.figures["replayed"] == 2


def test_duplicates_and_a_full_replay_leave_the_same_state(play: PlayGoal) -> None:
    kept(play("G6"))


def test_disorder_leaves_every_window_exact(play: PlayGoal) -> None:
    result = kept(play("G7"))
    assert result.figures["future"] > 0
    assert result.figures["too_late"] > 0
    assert result.dead_lettered == result.figures["future"] + result.figures["too_late"]


def test_a_full_disk_makes_the_workers_wait_and_loses_nothing(play: PlayGoal) -> None:
    assert kept(play("G9")).figures["records_waiting_at_the_end"] > 0


def test_counting_goes_on_without_redis_and_reads_never_hang(play: PlayGoal) -> None:
    kept(play("G10"))


def test_a_slow_encoder_makes_uploads_wait_and_searches_be_refused(play: PlayGoal) -> None:
    result = exact(play("G11", GATEWAY))
    # How quick answers are is a matter of the machine; the full form on a quiet one decides it.
    assert result.figures["refused"] > 0, result.figures
    assert result.figures["refusals_without_retry_after"] == result.figures["without_an_answer"] == 0, result.notes
    assert result.figures["uploads_behind_at_least"] > 0


@pytest.mark.serve
def test_killed_replicas_fail_few_calls_and_lose_no_event(play: PlayGoal) -> None:
    result = exact(play("G12", SERVING))
    # Two kills in twenty seconds: a call or two more or less decide about 99.5 %; the full form does it justice.
    assert result.figures["kills"] == 2, result.broken
    assert result.figures["success_share"] > 0.97, (result.figures, result.notes)


def test_an_overloaded_collector_refuses_in_order_and_applies_what_it_accepted(play: PlayGoal) -> None:
    result = exact(play("G16", GATEWAY))
    # Whether goodput and memory hold is a matter of the machine; the full form on a quiet one decides it.
    assert result.figures["calls_accepted"] > 0, result.figures
    assert result.figures["calls_refused"] + result.figures["calls_not_begun"] > 0, "that was no overload"


def test_a_cold_restart_gives_the_same_index_and_the_same_stores(play: PlayGoal) -> None:
    result = kept(play("G18", GATEWAY))
    assert result.figures["items"] > 4_500
    assert result.figures["entries_read_after_the_start"] > 0


def test_a_damaged_snapshot_is_refused_and_the_one_before_gives_the_same_index(play: PlayGoal) -> None:
    result = kept(play("G19"))
    assert result.figures["damaged"] == result.figures["damaged_refused"] == 12
    assert result.figures["writers_killed"] == 2

"""Parts are killed, frozen, and started again when they end; what was done is in the timeline."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import Unavailable
from core.settings import child_environment
from infra.chaos.processes import Keeper, Part, Timeline, rss_growth_mb
from infra.supervisor.spec import ProcessSpec

SLEEPS = "import time; time.sleep(60)"


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def part(tmp_path: Path, timeline: Timeline) -> Iterator[Part]:
    spec = ProcessSpec("sleeper", lambda: [sys.executable, "-c", SLEEPS], child_environment())
    made = Part(spec, tmp_path / "sleeper.log", timeline)
    yield made
    made.terminate()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.02)


def test_a_killed_part_ends_and_a_keeper_starts_it_again(part: Part, timeline: Timeline) -> None:
    keeper = Keeper()
    keeper.add(part.start())
    first = part.pid
    part.kill()
    until(lambda: part.running and part.pid != first)
    assert part.starts == 2
    keeper.close()
    assert not part.running
    assert [happening.what.partition(" (pid")[0] for happening in timeline.happenings] == [
        "sleeper started", "sleeper killed (SIGKILL)", "sleeper ended: killed by SIGKILL", "sleeper started",
        "sleeper stopped",
    ]  # fmt: skip


def test_a_part_that_was_stopped_on_purpose_stays_down(part: Part) -> None:
    keeper = Keeper()
    keeper.add(part.start())
    part.terminate()
    assert part.revive() is False
    keeper.close()
    assert part.starts == 1


def test_a_frozen_part_is_there_and_does_nothing_until_it_is_thawed(part: Part) -> None:
    process = psutil.Process(part.start().pid)
    part.freeze()
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    part.thaw()
    until(lambda: process.status() != psutil.STATUS_STOPPED)
    assert part.running


def test_a_frozen_part_can_be_stopped(part: Part) -> None:
    process = psutil.Process(part.start().pid)
    part.freeze()
    part.terminate(timeout_s=10)
    until(lambda: not process.is_running())


def test_what_does_not_run_can_be_neither_killed_nor_ready(part: Part) -> None:
    with pytest.raises(Unavailable, match="sleeper does not run"):
        part.kill()
    with pytest.raises(Unavailable, match="sleeper was not ready within"):
        part.wait_ready(0.1)
    assert part.rss_mb() == 0.0


def test_readiness_is_what_the_check_says(tmp_path: Path, timeline: Timeline) -> None:
    answers = iter(["not yet", "not yet", None])
    spec = ProcessSpec(
        "asked", lambda: [sys.executable, "-c", SLEEPS], child_environment(), ready=lambda: next(answers)
    )
    asked = Part(spec, tmp_path / "asked.log", timeline).start()
    try:
        asked.wait_ready(20)
        assert next(answers, "all were asked for") == "all were asked for"
    finally:
        asked.terminate()


def test_growth_is_measured_from_how_it_was_in_the_beginning() -> None:
    assert rss_growth_mb([100, 100, 99, 100, 180, 150, 120, 110]) == 80
    assert rss_growth_mb([100.0]) == 0

"""Replicas are found by their titles among the processes of a part, and killed in turns."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import Unavailable
from core.settings import child_environment
from infra.chaos.processes import Part, Timeline
from infra.chaos.replicas import RandomKiller, frozen, keep_down, replica_pids, slowed
from infra.supervisor.spec import ProcessSpec

# A process with three children: two replicas of one deployment, one of another.
TITLES = ("ServeReplica:gateway:Gateway", "ServeReplica:gateway:Gateway", "ServeReplica:image-encoder:Encoder")
# Its own command line must not hold the titles: a child has it too, until it is the program that was started.
SERVES = f"""
import subprocess, sys, time
for title in {" ".join(TITLES).replace(":", "_")!r}.replace("_", ":").split():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", title])
time.sleep(60)
"""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Part]:
    spec = ProcessSpec("serve", lambda: [sys.executable, "-c", SERVES], child_environment())
    part = Part(spec, tmp_path / "serve.log", Timeline())
    part.start()
    yield part
    part.terminate()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.02)


def test_replicas_are_known_by_their_deployment(serving: Part) -> None:
    until(lambda: len(replica_pids(serving, "gateway")) == 2 and len(replica_pids(serving, "image-encoder")) == 1)
    assert not set(replica_pids(serving, "gateway")) & set(replica_pids(serving, "image-encoder"))
    assert replica_pids(serving, "somebody-else") == []


def test_deployments_are_struck_in_turns_and_a_lone_victim_is_counted(serving: Part) -> None:
    until(lambda: len(replica_pids(serving, "gateway")) == 2 and len(replica_pids(serving, "image-encoder")) == 1)
    killer = RandomKiller(serving, ("gateway", "image-encoder"), random.Random(7), Timeline())
    killer.kill()
    until(lambda: len(replica_pids(serving, "gateway")) == 1)
    killer.kill()
    until(lambda: not replica_pids(serving, "image-encoder"))
    killer.kill()
    until(lambda: not replica_pids(serving, "gateway"))
    assert (killer.kills, killer.lone_kills) == (3, 2)
    with pytest.raises(Unavailable, match="image-encoder has no replica"):
        killer.kill()


def test_a_deployment_is_kept_down_and_what_is_gone_is_not_counted_twice(serving: Part) -> None:
    until(lambda: len(replica_pids(serving, "gateway")) == 2 and len(replica_pids(serving, "image-encoder")) == 1)
    timeline = Timeline()
    assert keep_down(serving, "gateway", 0.5, timeline) == 2
    until(lambda: not replica_pids(serving, "gateway"))
    assert len(replica_pids(serving, "image-encoder")) == 1
    assert len(timeline.happenings) == 2
    assert keep_down(serving, "gateway", 0.2, timeline) == 0


def test_processes_are_stopped_while_the_block_runs_and_go_on_after_it(serving: Part) -> None:
    until(lambda: len(replica_pids(serving, "image-encoder")) == 1)
    [pid] = replica_pids(serving, "image-encoder")
    process = psutil.Process(pid)
    with frozen([pid, 2**22 + 1]):  # one that is not there does no harm
        until(lambda: process.status() == psutil.STATUS_STOPPED)
    until(lambda: process.status() != psutil.STATUS_STOPPED)
    seen = set()
    with slowed([pid], 0.5, period_s=0.1):
        for _ in range(40):
            seen.add(process.status() == psutil.STATUS_STOPPED)
            time.sleep(0.01)
    assert seen == {True, False}, "it was to be stopped and to run in turns"
    until(lambda: process.status() != psutil.STATUS_STOPPED)


def test_a_crash_takes_all_descendants_and_nothing_comes_back_by_itself(serving: Part) -> None:
    until(lambda: len(replica_pids(serving, "gateway")) == 2)
    first = serving.pid
    serving.crash()
    assert not serving.running
    assert not serving.revive()
    assert replica_pids(serving, "gateway") == []
    serving.start()
    assert serving.pid != first

"""`up`, `down` and `status` over a real broker in a real background process, killed and all."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.settings import Settings, load_settings
from infra.broker.probe import ask
from infra.ports import free_port
from infra.runtime import AlreadyRunning, RunFolder
from infra.supervisor import control
from tests.integration.brokers import embedded_broker

pytestmark = pytest.mark.integration

DEADLINE_S = 60.0

# Two real processes: the embedded broker, and one that leaves a child in a session of its own, as Ray does.
SYSTEM = """
import sys
from pathlib import Path
from core.settings import load_settings
from infra.broker.selection import choose
from infra.runtime import BrokerState, RunFolder, settings_environment
from infra.supervisor.checks import broker_ready
from infra.supervisor.control import run_profile
from infra.supervisor.profile import Profile
from infra.supervisor.spec import ProcessSpec

settings = load_settings()
choice = choose(settings.broker, settings.home)
environment = settings_environment(settings)
broker = ProcessSpec("broker", choice.local.command, environment, prepare=choice.local.prepare,
                     ready=broker_ready(choice.bootstrap))
code = ("import subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        "time.sleep(600)")
worker = ProcessSpec("worker", lambda: [sys.executable, "-c", code], environment, after=("broker",))
state = BrokerState(choice.kind, choice.bootstrap, choice.durable, choice.promise)
folder = RunFolder(settings.home)
with folder.locked():
    run_profile(Profile(settings, (broker, worker), state, {"broker": choice.bootstrap}), folder)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    embedded_broker(tmp_path)  # skips where it is not installed
    return load_settings(home=tmp_path, broker={"kind": "embedded", "port": free_port()})


@pytest.fixture
def system(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    from infra.runtime import settings_environment

    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SYSTEM)], env=settings_environment(settings))
    _wait(lambda: control.status(settings.home).phase == "running")
    _wait(lambda: len(_members(settings)) == 3)
    yield process
    process.kill()
    process.wait()
    control.down(settings.home)


def _members(settings: Settings) -> set[int]:
    state = RunFolder(settings.home).read()
    return {pid for process in state.processes for pid, _ in process.members} if state else set()


def test_status_names_every_process_and_the_urls(settings: Settings, system: subprocess.Popen[bytes]) -> None:
    found = control.status(settings.home)
    assert found.running
    assert [(process["name"], process["state"]) for process in found.processes] == [
        ("broker", "ready"),
        ("worker", "ready"),
    ]
    assert all(psutil.pid_exists(int(str(process["pid"]))) for process in found.processes)
    assert found.urls == {"broker": f"127.0.0.1:{settings.broker.port}"}
    assert ask(found.urls["broker"])


def test_down_stops_everything_and_may_be_repeated(settings: Settings, system: subprocess.Popen[bytes]) -> None:
    members = _members(settings)
    assert control.down(settings.home).was_running
    assert system.wait(DEADLINE_S) == 0
    assert not [pid for pid in members if _runs(pid)]
    assert not control.down(settings.home).was_running
    assert not control.status(settings.home).running


def test_a_second_start_is_refused_and_harms_nothing(settings: Settings, system: subprocess.Popen[bytes]) -> None:
    with pytest.raises(AlreadyRunning, match=r"broker \(ready\), worker \(ready\)"):
        control.up_detached(settings, timeout_s=5)
    with pytest.raises(AlreadyRunning):
        control.up(settings)
    assert control.status(settings.home).phase == "running"


def test_nothing_survives_a_killed_supervisor_and_down(settings: Settings, system: subprocess.Popen[bytes]) -> None:
    members = _members(settings)
    os.kill(system.pid, signal.SIGKILL)
    system.wait()
    found = control.status(settings.home)
    assert not found.running
    assert all(process["state"] == "stopped" for process in found.processes)
    control.down(settings.home)
    assert not [pid for pid in members if _runs(pid)]
    assert control.status(settings.home).stale == []


def test_a_taken_port_ends_the_start_in_the_background_with_the_reason(settings: Settings) -> None:
    import socket

    from core.errors import Unavailable

    with socket.create_server(("127.0.0.1", settings.broker.port)):
        with pytest.raises(Unavailable, match=rf"port {settings.broker.port} is held by.*set broker.port"):
            control.up_detached(settings, timeout_s=30)
    assert not control.status(settings.home).running


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)

"""Start, stop and look at the system of one home folder."""

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from core.errors import Unavailable
from core.settings import Settings
from infra.runtime import AlreadyRunning, ProcessState, RunFolder, RuntimeState, settings_environment
from infra.supervisor import process_tree
from infra.supervisor.child import last_lines, rotate
from infra.supervisor.profile import Profile, local_profile
from infra.supervisor.supervisor import Show, Supervisor, show_nothing

STOP_TIMEOUT_S = 60.0
REAP_GRACE_S = 5.0


def home_mark(home: Path) -> str:
    """Return what every run id of this home begins with."""
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]


def up(settings: Settings, *, timeout_s: float | None = None, show: Show = show_nothing) -> RuntimeState:
    """Start the local profile in this process and watch it until a signal; return the last state.

    What a killed supervisor has left behind is ended first.

    Raises:
        AlreadyRunning: it runs already.
        ConfigurationError: a port is taken, or the wanted broker cannot run here.
        Unavailable: an external broker does not answer.
    """
    folder = RunFolder(settings.home)
    with folder.locked():
        _reap(folder)
        return run_profile(local_profile(settings), folder, timeout_s=timeout_s, show=show)


def run_profile(
    profile: Profile, folder: RunFolder, *, timeout_s: float | None = None, show: Show = show_nothing
) -> RuntimeState:
    """Run a profile until a signal. The caller holds the folder's lock."""
    supervisor = Supervisor(
        profile.specs,
        folder,
        run_id=f"{home_mark(folder.home)}-{secrets.token_hex(4)}",
        pid=os.getpid(),
        broker=profile.broker,
        urls=profile.urls,
        access=profile.access,
        show=show,
    )
    return supervisor.run(timeout_s=timeout_s, while_running=profile.while_running)


def up_detached(settings: Settings, *, timeout_s: float, show: Show = show_nothing) -> RuntimeState:
    """Start the supervisor in the background and return once everything is ready.

    Raises:
        AlreadyRunning: it runs already.
        Unavailable: it did not become ready; everything is stopped again and the message says what was missing.
    """
    folder = RunFolder(settings.home)
    if folder.supervisor_alive():
        raise AlreadyRunning(folder.already_running())
    log = folder.logs / "supervisor.log"
    rotate(log)
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "infra.entry.supervise", "--timeout", str(timeout_s)],
            env=settings_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        state = folder.read()
        if state is not None and state.supervisor_pid == daemon.pid:
            show(state, "")
            if state.phase == "running":
                return state
        if daemon.poll() is not None:
            if state is not None and state.supervisor_pid == daemon.pid and state.reason:
                raise Unavailable(state.reason)
            raise Unavailable(last_lines(log, 5).rpartition("error: ")[2] or f"the supervisor ended; see {log}")
        time.sleep(0.1)
    down(settings.home)
    raise Unavailable(f"the supervisor did not become ready; see {log}")


@dataclass(frozen=True)
class Stopped:
    """What `down` did."""

    was_running: bool
    leftovers: list[str] = field(default_factory=list)  # processes of a killed supervisor that were ended


def down(home: Path, *, timeout_s: float = STOP_TIMEOUT_S) -> Stopped:
    """Stop the system and everything that an earlier one has left; harmless when nothing runs.

    Raises:
        Unavailable: the supervisor could not be found or ended.
    """
    folder = RunFolder(home)
    was_running = folder.supervisor_alive()
    if was_running:
        _stop_supervisor(folder, timeout_s)
    leftovers = _reap(folder)
    state = folder.read()
    if state is not None and state.phase not in ("stopped", "failed"):
        _mark_stopped(folder, state)
    return Stopped(was_running, leftovers)


class Status(msgspec.Struct):
    """What `status` found. `stale` are processes of a supervisor that is gone."""

    running: bool
    phase: str
    processes: list[dict[str, object]]
    urls: dict[str, str]
    supervisor: dict[str, object] | None = None
    broker: dict[str, object] | None = None
    home: str = ""
    reason: str = ""
    access: str = ""
    stale: list[str] = []


def status(home: Path) -> Status:
    """Look at the system of `home`."""
    folder = RunFolder(home)
    state = folder.read()
    alive = folder.supervisor_alive()
    if state is None or not alive:
        left = process_tree.remains(home_mark(folder.home), state.processes if state else [])
        return Status(
            running=False,
            phase="starting" if alive else (state.phase if state and state.phase == "failed" else "stopped"),
            processes=[_stopped_entry(process) for process in state.processes] if state else [],
            urls={},
            home=str(folder.home),
            reason=state.reason if state else "",
            stale=[] if alive else [_name(process) for process in left],
        )
    return Status(
        running=True,
        phase=state.phase,
        processes=[_entry(process) for process in state.processes],
        urls=state.urls,
        supervisor={"pid": state.supervisor_pid, "started_at": state.started_at, "ready_after_s": state.ready_after_s},
        broker=msgspec.to_builtins(state.broker),
        home=str(folder.home),
        reason=state.reason,
        access=state.access,
    )


def _entry(process: ProcessState) -> dict[str, object]:
    entry: dict[str, object] = msgspec.to_builtins(process)
    del entry["members"]
    return entry


def _stopped_entry(process: ProcessState) -> dict[str, object]:
    return {**_entry(process), "pid": None, "state": "failed" if process.state == "failed" else "stopped"}


def _stop_supervisor(folder: RunFolder, timeout_s: float) -> None:
    try:
        supervisor = psutil.Process(int(folder.pid_file.read_text()))
        supervisor.send_signal(signal.SIGTERM)
    except (OSError, ValueError, psutil.Error) as error:
        if not folder.supervisor_alive():
            return
        raise Unavailable(f"a supervisor holds {folder.folder} but cannot be asked to stop: {error}") from error
    deadline = time.monotonic() + timeout_s
    while folder.supervisor_alive():
        if time.monotonic() > deadline:
            process_tree.end([supervisor], 0.0)
        time.sleep(0.05)


def _reap(folder: RunFolder) -> list[str]:
    """End what a supervisor that is gone has left behind; return the names."""
    state = folder.read()
    left = process_tree.remains(home_mark(folder.home), state.processes if state else [])
    names = [_name(process) for process in left]
    process_tree.end(left, REAP_GRACE_S)
    return names


def _mark_stopped(folder: RunFolder, state: RuntimeState) -> None:
    state.phase = "stopped"
    for process in state.processes:
        process.state, process.pid, process.members = "stopped", None, []
    folder.write(state)


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"

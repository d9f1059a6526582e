"""What runs here: `<home>/run/state.json`, written by the supervisor, read by every command.

The supervisor holds a lock on `<home>/run/supervisor.lock` as long as it lives. The lock, not the file, decides whether
the system runs: the kernel frees it even after kill -9.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from core.errors import RiverlightError
from core.settings import Settings, child_environment

RUN_ID = "RIVERLIGHT_RUN_ID"
PROCESS_NAME = "RIVERLIGHT_PROCESS_NAME"

ProcessPhase = Literal["waiting", "starting", "ready", "unready", "backoff", "failed", "stopping", "stopped"]


class AlreadyRunning(RiverlightError):
    """A second supervisor for a home folder that has one."""

    code = "already-running"


class ProcessState(msgspec.Struct):
    """One supervised process. `members` are (pid, start time) of everything it has started, itself included."""

    name: str
    state: ProcessPhase = "waiting"
    pid: int | None = None
    restarts: int = 0
    since: float = 0.0  # when `state` began, seconds since the epoch
    ready_after_s: float | None = None  # how long its last start took
    reason: str = ""  # why it is not ready, or how it last ended
    log: str = ""
    members: list[tuple[int, float]] = []


class BrokerState(msgspec.Struct):
    """The broker in use."""

    kind: str
    bootstrap: str
    durable: bool
    promise: str
    missing: list[str] = []


class RuntimeState(msgspec.Struct):
    """The whole system at one moment. `phase` "failed" and "stopped" are final."""

    run_id: str
    supervisor_pid: int
    phase: Literal["starting", "running", "stopping", "stopped", "failed"]
    started_at: float
    broker: BrokerState
    urls: dict[str, str]
    processes: list[ProcessState]
    reason: str = ""  # why the phase is "failed"
    access: str = ""  # who may call the API, in words
    ready_after_s: float | None = None  # from the start of the supervisor until every process was ready


class RunFolder:
    """The files in `<home>/run` and `<home>/logs`."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.folder = self.home / "run"
        self.logs = self.home / "logs"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def pid_file(self) -> Path:
        return self.folder / "supervisor.pid"

    @property
    def _lock_file(self) -> Path:
        return self.folder / "supervisor.lock"

    def read(self) -> RuntimeState | None:
        """Return the last state written, or None where there is none (or one of another release)."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=RuntimeState)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, state: RuntimeState) -> None:
        """Replace the state in one step: a reader sees the old or the new one, never half of one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arriving = self.state_file.with_suffix(".arriving")
        arriving.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1))
        arriving.replace(self.state_file)

    def supervisor_alive(self) -> bool:
        """Whether a supervisor of this home runs."""
        try:
            with self._lock_file.open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the supervisor's lock and own its pid file while the block runs.

        Raises:
            AlreadyRunning: another supervisor of this home runs; the message names it and what it runs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(self.already_running()) from None
            self.pid_file.write_text(f"{os.getpid()}\n")
            try:
                yield
            finally:
                self.pid_file.unlink(missing_ok=True)

    def already_running(self) -> str:
        """Say what runs, for somebody who wanted to start it a second time."""
        state = self.read()
        if state is None:
            return f"another `riverlight up` has just begun in {self.home}"
        processes = ", ".join(f"{process.name} ({process.state})" for process in state.processes)
        return (
            f"already running in {self.home}: supervisor pid {state.supervisor_pid}, {processes}. "
            "`riverlight status` shows it, `riverlight down` stops it"
        )


def running(home: Path) -> RuntimeState | None:
    """Return the state of the system that runs in `home`, or None when none does."""
    folder = RunFolder(home)
    return folder.read() if folder.supervisor_alive() else None


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with every setting in it, so that a child sees exactly these settings."""
    changes: dict[str, str] = {}

    def add(prefix: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            name = f"{prefix}{key.upper()}"
            if isinstance(value, dict):
                add(f"{name}__", value)
            elif value is not None:
                changes[name] = value if isinstance(value, str) else json.dumps(value)

    add("RIVERLIGHT_", settings.model_dump(mode="json"))
    changes["RIVERLIGHT_HOME"] = str(settings.home.resolve())
    return child_environment(**changes)

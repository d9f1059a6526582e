"""One run of one process: its own session, its log file, its death with ours."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from infra.runtime import PROCESS_NAME, RUN_ID
from infra.supervisor import process_tree
from infra.supervisor.process_tree import Member
from infra.supervisor.spec import ProcessSpec

LOGS_KEPT = 5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """A started process. Its tree is known by session, environment mark and a record of members (`remember`)."""

    def __init__(self, spec: ProcessSpec, run_id: str, log: Path) -> None:
        """Start the process. Raises OSError when the command cannot be run."""
        self.spec = spec
        self._run_id = run_id
        self.log = log
        rotate(log)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                spec.command(),
                env={**spec.environment, RUN_ID: run_id, PROCESS_NAME: spec.name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if _LIBC is not None else None,
            )
        self.pid = self._process.pid
        self._members: dict[Member, None] = {}
        self.remember()

    @property
    def returncode(self) -> int | None:
        """None while it runs; else its exit code, or the negative number of the signal that ended it."""
        return self._process.poll()

    def members(self) -> list[Member]:
        """Return every process of this tree ever seen."""
        return list(self._members)

    def remember(self) -> None:
        """Note what the tree holds now, so that it is found again after its parents have ended."""
        try:
            tree = process_tree.descendants([psutil.Process(self.pid)])
        except psutil.Error:
            return
        for process in tree:
            try:
                self._members[process_tree.member(process)] = None
            except psutil.Error:
                continue
        if len(self._members) > 256:
            self._members = dict.fromkeys(process_tree.member(process) for process in process_tree.alive(self._members))

    def terminate(self) -> None:
        """Ask the leader to stop; it is the one who knows how to stop what it started."""
        if self.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def kill_tree(self) -> int:
        """Kill what is left of the tree, the leader included; return how many processes that were."""
        self.remember()
        found = process_tree.marked(self._run_id, self.spec.name, sessions=[self.pid])
        remembered = process_tree.alive(self._members)
        left = {process.pid: process for process in process_tree.descendants([*remembered, *found])}
        process_tree.kill(left.values())
        with contextlib.suppress(subprocess.TimeoutExpired):  # in uninterruptible sleep: ends when its device answers
            self._process.wait(5)
        return len(left)


def describe_exit(returncode: int) -> str:
    """Return how a process ended, in words."""
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit code {returncode}"


def last_lines(log: Path, count: int = 3, max_bytes: int = 4096) -> str:
    """Return the last non-empty lines of a log, or an empty string."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - max_bytes))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return " | ".join(line[:300] for line in lines[-count:])


def rotate(log: Path) -> None:
    """Move `name.log` to `name.log.1` and so on; the oldest of `LOGS_KEPT` goes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists():
        return
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def _die_with(parent: int) -> Callable[[], None]:
    """Return what runs between fork and exec: if the supervisor is killed, the kernel tells its children."""

    def before_exec() -> None:
        assert _LIBC is not None
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it was killed before the line above

    return before_exec

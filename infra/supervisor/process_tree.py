"""Everything a process has started, found again even when its parents are gone; and the end of it.

Ray starts processes that outlive their parent, leave its process group and overwrite their own environment, so no
single mark is enough. A process belongs to us when one of these holds: its environment carries our mark, it is in a
session that we opened, it descends from one of ours, or the state file remembers its pid and start time. Processes of
other people carry none of these.
"""

import os
import signal
import time
from collections.abc import Iterable

import psutil

from infra.runtime import PROCESS_NAME, RUN_ID, ProcessState

Member = tuple[int, float]  # pid and start time; a pid alone may have been given to somebody else


def member(process: psutil.Process) -> Member:
    """Return the identity of a process. Raises psutil.Error when it has ended."""
    return process.pid, process.create_time()


def alive(members: Iterable[Member]) -> list[psutil.Process]:
    """Return those of the members that still run."""
    found = []
    for pid, started in members:
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 0.05 and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def descendants(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the roots and everything under them that still runs."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            found[root.pid] = root
            found.update({child.pid: child for child in root.children(recursive=True)})
        except psutil.Error:
            continue
    return list(found.values())


def marked(run_prefix: str, name: str | None = None, sessions: Iterable[int] = ()) -> list[psutil.Process]:
    """Return the processes whose environment carries a run id that begins with `run_prefix`, or in our sessions.

    `name` limits the search to one supervised process. This process and its ancestors are never among them: a
    command may be run from inside the system.
    """
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    sessions = set(sessions)
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        try:
            environment = process.environ()
            by_mark = environment.get(RUN_ID, "").startswith(run_prefix)
            if name is not None and environment.get(PROCESS_NAME) != name:
                by_mark = False
            if by_mark or (sessions and os.getsid(process.pid) in sessions):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if _runs(process)]


def remains(run_prefix: str, states: Iterable[ProcessState]) -> list[psutil.Process]:
    """Return what still runs of a system whose supervisor is gone."""
    remembered = alive(entry for state in states for entry in state.members)
    roots = {process.pid: process for process in [*remembered, *marked(run_prefix)]}
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in descendants(roots.values()) if process.pid not in ours and _runs(process)]


def end(processes: Iterable[psutil.Process], grace_s: float) -> list[psutil.Process]:
    """Send SIGTERM, wait up to `grace_s`, send SIGKILL to what is left; return those that had to be killed."""
    left = [process for process in processes if _signal(process, signal.SIGTERM)]
    left = _wait(left, grace_s)
    for process in left:
        _signal(process, signal.SIGKILL)
    _wait(left, 5.0)
    return left


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to all at once."""
    for process in list(processes):
        _signal(process, signal.SIGKILL)


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    deadline = time.monotonic() + timeout_s
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)  # psutil compares the start time first: never another process with this pid
        return True
    except psutil.Error:
        return False

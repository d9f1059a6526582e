"""The replicas of a deployment, found among the processes of the serving part by the titles that Ray gives them."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from core.errors import Unavailable
from infra.chaos.processes import Part, Timeline


def replica_pids(serving: Part, deployment: str) -> list[int]:
    """Return the process ids of a deployment's replicas, the oldest first; none while the part does not run."""
    found: list[tuple[float, int]] = []
    try:
        for process in psutil.Process(serving.pid).children(recursive=True):
            try:
                if f"ServeReplica:{deployment}" in " ".join(process.cmdline()):
                    found.append((process.create_time(), process.pid))
            except psutil.Error:  # it has just ended
                continue
    except (psutil.Error, Unavailable):
        return []
    return [pid for _, pid in sorted(found)]


class RandomKiller:
    """Sends SIGKILL to replicas of some deployments in turns, each time to one that is drawn."""

    def __init__(self, serving: Part, deployments: tuple[str, ...], rng: random.Random, timeline: Timeline) -> None:
        self._serving = serving
        self._deployments = deployments
        self._rng = rng
        self._timeline = timeline
        self.kills = 0
        self.lone_kills = 0  # when no other replica of the deployment was there

    def kill(self) -> None:
        """Kill one. Raises Unavailable when the deployment whose turn it is has no replica."""
        deployment = self._deployments[self.kills % len(self._deployments)]
        pids = replica_pids(self._serving, deployment)
        if not pids:
            raise Unavailable(f"{deployment} has no replica that could be killed")
        victim = self._rng.choice(pids)
        self._timeline.add(f"replica of {deployment} killed (SIGKILL, pid {victim}, one of {len(pids)})")
        os.kill(victim, signal.SIGKILL)
        self.kills += 1
        self.lone_kills += len(pids) == 1


def keep_down(serving: Part, deployment: str, seconds: float, timeline: Timeline) -> int:
    """Kill the replicas of a deployment, and each one that takes their place, for a while; return how many died."""
    killed: set[int] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for pid in set(replica_pids(serving, deployment)) - killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                timeline.add(f"replica of {deployment} killed (SIGKILL, pid {pid})")
        time.sleep(0.1)
    return len(killed)


@contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes (SIGSTOP) while the block runs."""
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


@contextmanager
def slowed(pids: Sequence[int], share: float, period_s: float = 0.5) -> Iterator[None]:
    """Let processes run for only this share of the time while the block runs, by stopping them again and again."""
    over = threading.Event()

    def brake() -> None:
        while not over.is_set():
            with frozen(pids):
                over.wait(period_s * (1 - share))
            over.wait(period_s * share)

    thread = threading.Thread(target=brake, name="chaos-brake", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

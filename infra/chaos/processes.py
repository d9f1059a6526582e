"""The processes of a stage: started as the supervisor starts them, tortured by name, started again when they end."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from core.errors import Unavailable
from infra.broker.probe import wait_until_ready
from infra.broker.selection import LocalBroker
from infra.supervisor.child import Child, describe_exit, last_lines
from infra.supervisor.spec import ProcessSpec

_RESTART_AFTER_S = 0.5  # what the supervisor waits before the first new start


@dataclass(frozen=True)
class Happening:
    """One line of a timeline: seconds since the run began, and what was done or seen."""

    at_s: float
    what: str


@dataclass
class Timeline:
    """What was done to whom and when. Thread-safe: appending is."""

    begun: float = field(default_factory=time.monotonic)
    happenings: list[Happening] = field(default_factory=list)
    report: Callable[[str], None] = lambda message: None

    def add(self, what: str) -> None:
        """Note what has just happened."""
        self.happenings.append(Happening(round(time.monotonic() - self.begun, 2), what))
        self.report(what)


class Part:
    """One named process. `keep` (a `Keeper`'s) starts it again when it ends without having been told to."""

    def __init__(self, spec: ProcessSpec, log: Path, timeline: Timeline) -> None:
        self.name = spec.name
        self.log = log
        self.wanted = False
        self.starts = 0
        self._spec = spec
        self._timeline = timeline
        self._child: Child | None = None
        self._frozen = False
        self._changing = threading.RLock()

    @property
    def pid(self) -> int:
        """The process id. Raises Unavailable when it does not run."""
        if self._child is None or self._child.returncode is not None:
            raise Unavailable(f"{self.name} does not run")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    def start(self) -> "Part":
        """Start it, unless it runs."""
        with self._changing:
            self.wanted = True
            if not self.running:
                self.starts += 1
                self._child = Child(self._spec, f"chaos-{os.getpid()}", self.log)
                self._timeline.add(f"{self.name} started (pid {self._child.pid})")
        return self

    def wait_ready(self, timeout_s: float) -> float:
        """Return how many seconds it took to become ready, from now. Raises Unavailable when it did not."""
        begun = time.monotonic()
        why: str | None = "it has not been asked"
        while time.monotonic() - begun < timeout_s:
            why = self._spec.ready() if self.running else "it does not run"
            if why is None:
                return time.monotonic() - begun
            time.sleep(0.05)
        raise Unavailable(f"{self.name} was not ready within {timeout_s:g} s: {why}; {last_lines(self.log)}")

    def why_unready(self) -> str:
        """Return why it says that it is not ready; empty when it is."""
        return (self._spec.ready() or "") if self.running else "it does not run"

    def kill(self) -> None:
        """SIGKILL, to the process alone, as the kernel's memory killer would."""
        with self._changing:
            child = self._child
            self._signal(signal.SIGKILL, "killed (SIGKILL)")
        _wait(child, 5.0)

    def crash(self) -> None:
        """SIGKILL, to it and to everything it started; it stays down until it is started again."""
        with self._changing:
            self.wanted = False
            child, self._child = self._child, None
            if child is not None:
                self._timeline.add(f"{self.name} and {child.kill_tree() - 1} processes of it killed (SIGKILL)")

    def freeze(self) -> None:
        """SIGSTOP: it is there, holds what it holds, and does nothing."""
        self._signal(signal.SIGSTOP, "stopped (SIGSTOP)")
        self._frozen = True

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._signal(signal.SIGCONT, "continued (SIGCONT)")
        self._frozen = False

    def terminate(self, timeout_s: float = 30.0) -> None:
        """Ask it to stop, wait, and end what is left of it."""
        if self._frozen and self.running:
            self.thaw()
        with self._changing:
            self.wanted = False
            child, self._child = self._child, None
        if child is None:
            return
        was_running = child.returncode is None
        child.terminate()
        _wait(child, timeout_s)
        child.kill_tree()
        if was_running:
            self._timeline.add(f"{self.name} stopped")

    def rss_mb(self) -> float:
        """Return the resident memory of the process and its descendants, in MB; 0 when it does not run."""
        try:
            process = psutil.Process(self.pid)
            return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 1e6
        except (psutil.Error, Unavailable):
            return 0.0

    def revive(self) -> bool:
        """Start it again if it ended although it was wanted; tell whether it had."""
        with self._changing:
            if not self.wanted or self._child is None or self._child.returncode is None:
                return False
            self._timeline.add(f"{self.name} ended: {describe_exit(self._child.returncode)}")
            self._child.kill_tree()
            self.start()
            return True

    def _signal(self, number: int, what: str) -> None:
        with self._changing:
            pid = self.pid
            self._timeline.add(f"{self.name} {what}")
            os.kill(pid, number)


class Keeper:
    """Starts parts again that end: a supervisor with one rule. The parts' starts happen in its thread."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._all_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-keeper", daemon=True)
        self._thread.start()

    def add(self, part: Part) -> None:
        """Keep a part running from now on."""
        self._parts.append(part)

    def close(self) -> None:
        """Stop every part, the last one first."""
        self._stop.set()
        self._idle.wait()
        try:
            for part in reversed(self._parts):
                part.terminate()
        finally:
            self._all_stopped.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.1):
                for part in list(self._parts):
                    if part.wanted and not part.running and not self._stop.wait(_RESTART_AFTER_S):
                        part.revive()
        finally:
            self._idle.set()
            self._all_stopped.wait()  # the kernel ends what a thread started when that thread ends, all at once


class BrokerProcess:
    """A local broker that can be killed and started again on its port and its data."""

    def __init__(self, broker: LocalBroker, folder: Path) -> None:
        self.kind = broker.kind
        self.durable = broker.durable
        self.bootstrap = broker.bootstrap
        self._broker = broker
        self._log = folder / f"{broker.kind}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 90.0) -> float:
        """Start it and return how many seconds it took to answer. Raises Unavailable, ConfigurationError."""
        begun = time.monotonic()
        self._broker.prepare(lambda message: None)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._broker.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        wait_until_ready(self.bootstrap, timeout_s)
        return time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL: what it has not written to its files is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it in order; kill it where that takes more than twenty seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def _wait(child: Child | None, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while child is not None and child.returncode is None and time.monotonic() < deadline:
        time.sleep(0.02)


class MemorySampler:
    """Samples the memory of a part, and of everything it started, twice a second while the block runs."""

    def __init__(self, part: Part) -> None:
        self.samples: list[float] = []  # MB
        self._part = part
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        return rss_growth_mb(self.samples)

    def _run(self) -> None:
        while True:
            self.samples.append(self._part.rss_mb())
            if self._stop.wait(0.5):
                return


def rss_growth_mb(samples: Sequence[float]) -> float:
    """Return by how much memory grew: the largest sample above the median of the first quarter."""
    first = sorted(samples[: max(1, len(samples) // 4)])
    return max(samples) - first[len(first) // 2]

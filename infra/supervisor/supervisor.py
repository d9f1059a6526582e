"""The supervisor: starts processes in order, watches them, starts them again, stops them in reverse order.

One thread and one loop: every process is moved on by `_advance`, one small step at a time, and the state is written
and shown after each step that changed something.
"""

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

import msgspec

from core.errors import ConfigurationError, RiverlightError
from infra.runtime import BrokerState, ProcessPhase, ProcessState, RunFolder, RuntimeState
from infra.supervisor.child import Child, describe_exit, last_lines
from infra.supervisor.spec import ProcessSpec

TICK_S = 0.1
PROBE_STARTING_S = 0.2
PROBE_READY_S = 5.0
REMEMBER_S = 1.0

Show = Callable[[RuntimeState, str], None]


def show_nothing(state: RuntimeState, message: str) -> None:
    """For a supervisor nobody watches."""


class _Interrupted(RiverlightError):
    """A preparation that is given up because the system is to stop."""


class _Slot:
    """One process under supervision: its spec, its current child, and when what is due."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.state = ProcessState(name=spec.name, since=time.time())
        self.child: Child | None = None
        self.failures = 0  # in a row
        self.started_at = self.ready_at = 0.0
        self.next_start = self.next_probe = self.next_remember = 0.0

    def enter(self, phase: ProcessPhase, reason: str = "") -> None:
        if phase != self.state.state:
            self.state.state, self.state.since = phase, time.time()
        self.state.reason = reason


class Supervisor:
    """Runs the processes of one system until it is told to stop.

    `run_id` marks every process; it begins with the mark of the home folder, so that leftovers are recognised.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        folder: RunFolder,
        *,
        run_id: str,
        pid: int,
        broker: BrokerState,
        urls: dict[str, str],
        access: str = "",
        show: Show = show_nothing,
    ) -> None:
        names = [spec.name for spec in specs]
        for spec in specs:
            if unknown := set(spec.after) - set(names[: names.index(spec.name)]):
                raise ConfigurationError(f"process {spec.name} comes after {sorted(unknown)}, which is not before it")
        self._slots = {spec.name: _Slot(spec) for spec in specs}
        self._folder = folder
        self._show = show
        self._began = time.monotonic()
        self._stopping = self._hurry = False
        self._written = b""
        self.state = RuntimeState(
            run_id=run_id,
            supervisor_pid=pid,
            phase="starting",
            started_at=time.time(),
            broker=broker,
            urls=urls,
            access=access,
            processes=[slot.state for slot in self._slots.values()],
        )

    def stop(self) -> None:
        """Ask the loop to stop everything; asked twice, it no longer waits for anybody."""
        self._hurry, self._stopping = self._stopping, True

    def run(self, *, timeout_s: float | None = None, while_running: Callable[[], None] = lambda: None) -> RuntimeState:
        """Start everything and watch it until `stop`, then stop everything and return the last state.

        Ends in phase "failed" when a required process gives up, or is not ready within `timeout_s`, before the
        system was ready once. Later failures leave the rest running and are shown in the state.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._stopping:
                for slot in self._slots.values():
                    self._advance(slot)
                    if self._stopping:
                        break
                self._settle(timeout_s)
                self._publish()
                while_running()
                time.sleep(TICK_S)
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.state

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def _settle(self, timeout_s: float | None) -> None:
        """Decide the phase of the whole from the states of its parts."""
        if self.state.phase != "starting":
            return
        slots = [slot for slot in self._slots.values() if slot.spec.required]
        given_up = [slot for slot in slots if slot.state.state == "failed"]
        waited = time.monotonic() - self._began
        if given_up:
            self._fail("; ".join(f"{slot.spec.name}: {slot.state.reason}" for slot in given_up))
        elif all(slot.state.state == "ready" for slot in slots):
            self.state.phase, self.state.ready_after_s = "running", round(waited, 2)
        elif timeout_s is not None and waited > timeout_s:
            late = [slot for slot in slots if slot.state.state != "ready"]
            reasons = "; ".join(f"{slot.spec.name} ({slot.state.state}) {slot.state.reason}".strip() for slot in late)
            self._fail(f"not ready after {timeout_s:.0f} s: {reasons}")

    def _fail(self, reason: str) -> None:
        self.state.phase, self.state.reason = "failed", reason
        self._stopping = True

    def _advance(self, slot: _Slot) -> None:
        now = time.monotonic()
        match slot.state.state:
            case "waiting":
                if all(self._slots[name].state.state == "ready" for name in slot.spec.after):
                    self._start(slot)
            case "backoff":
                if now >= slot.next_start:
                    self._start(slot)
            case "starting" | "ready" | "unready":
                self._watch(slot, now)

    def _start(self, slot: _Slot) -> None:
        spec = slot.spec
        slot.enter("starting", "preparing")
        self._publish()
        slot.started_at = time.monotonic()
        try:
            spec.prepare(lambda message: self._progress(slot, message))
            if self._stopping:
                return
            slot.child = Child(spec, self.state.run_id, self._folder.logs / f"{spec.name}.log")
        except ConfigurationError as error:
            self._give_up(slot, str(error))  # the same again would fail the same way
            return
        except (RiverlightError, OSError) as error:
            self._failed(slot, str(error))
            return
        slot.started_at = time.monotonic()
        slot.state.pid, slot.state.log = slot.child.pid, str(slot.child.log)
        slot.next_probe = slot.next_remember = 0.0
        slot.enter("starting")

    def _watch(self, slot: _Slot, now: float) -> None:
        child = slot.child
        assert child is not None
        if child.returncode is not None:
            reason = describe_exit(child.returncode)
            if said := last_lines(child.log):
                reason += f"; it said: {said}"
            self._failed(slot, reason)
            return
        if now >= slot.next_remember:
            child.remember()
            slot.state.members = child.members()
            slot.next_remember = now + REMEMBER_S
        if now >= slot.next_probe:
            self._probe(slot)
        if slot.state.state == "starting" and now - slot.started_at > slot.spec.start_timeout_s:
            self._failed(slot, f"not ready after {slot.spec.start_timeout_s:.0f} s: {slot.state.reason}")
        elif slot.state.state == "ready" and now - slot.ready_at > slot.spec.backoff.forget_after_s:
            slot.failures = 0

    def _probe(self, slot: _Slot) -> None:
        lacking = slot.spec.ready()
        starting = slot.state.state == "starting"
        slot.next_probe = time.monotonic() + (PROBE_STARTING_S if starting else PROBE_READY_S)
        if lacking is None and starting:
            try:
                slot.spec.on_ready(lambda message: self._progress(slot, message))
            except RiverlightError as error:
                slot.enter("starting", str(error))
                return
            slot.ready_at = time.monotonic()
            slot.state.ready_after_s = round(slot.ready_at - slot.started_at, 2)
            slot.next_probe = slot.ready_at + PROBE_READY_S
            slot.enter("ready")
        elif lacking is None:
            slot.enter("ready")
        else:
            slot.enter("starting" if starting else "unready", lacking)

    def _failed(self, slot: _Slot, reason: str) -> None:
        """The process ended or never became ready: clear what it left, then wait and try again, or give up."""
        if slot.child is not None:
            slot.child.kill_tree()
            slot.child = None
        slot.state.pid, slot.state.members = None, []
        slot.failures += 1
        if slot.failures > slot.spec.backoff.attempts:
            self._give_up(slot, f"gave up after {slot.failures} starts; the last: {reason}")
            return
        slot.state.restarts += 1
        wait_s = slot.spec.backoff.wait_s(slot.failures)
        slot.next_start = time.monotonic() + wait_s
        slot.enter("backoff", f"{reason}; start {slot.failures + 1} in {wait_s:.1f} s")

    def _give_up(self, slot: _Slot, reason: str) -> None:
        where = f" (log: {slot.state.log})" if slot.state.log else ""
        slot.enter("failed", reason + where)

    def _stop_all(self) -> None:
        """Stop every process once nothing that runs depends on it: SIGTERM, a grace, then SIGKILL to its tree."""
        failed = self.state.phase == "failed"
        if not failed:
            self.state.phase = "stopping"
        asked: dict[str, float] = {}
        while running := {name: slot for name, slot in self._slots.items() if slot.child is not None}:
            for name, slot in running.items():
                if any(name in other.spec.after for other in running.values()) and not self._hurry:
                    continue
                self._stop_step(slot, asked)
            self._publish()
            time.sleep(TICK_S / 2)
        for slot in self._slots.values():
            if slot.state.state not in ("failed", "stopped"):
                slot.enter("stopped")
        if not failed:
            self.state.phase = "stopped"
        self._publish()

    def _stop_step(self, slot: _Slot, asked: dict[str, float]) -> None:
        child = slot.child
        assert child is not None
        if slot.spec.name not in asked:
            child.remember()
            slot.enter("stopping")
            child.terminate()
            asked[slot.spec.name] = time.monotonic()
        late = time.monotonic() - asked[slot.spec.name] > slot.spec.stop_grace_s
        if child.returncode is None and not late and not self._hurry:
            return
        child.kill_tree()
        slot.child = None
        slot.state.pid, slot.state.members = None, []
        slot.enter("stopped", "killed: it did not stop in time" if late else "")

    def _progress(self, slot: _Slot, message: str) -> None:
        if self._stopping:
            raise _Interrupted("stopped while preparing")
        slot.state.reason = message
        self._publish(message)

    def _publish(self, message: str = "") -> None:
        encoded = msgspec.json.encode(self.state)
        if encoded != self._written:
            self._folder.write(self.state)
            self._written = encoded
        self._show(self.state, message)

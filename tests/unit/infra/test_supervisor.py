"""The supervisor with small real processes: slow, crashing, deaf to signals, with children of their own."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.errors import ConfigurationError, Unavailable
from infra.runtime import BrokerState, RunFolder, RuntimeState
from infra.supervisor import process_tree
from infra.supervisor.spec import Backoff, ProcessSpec
from infra.supervisor.supervisor import Supervisor

QUICK = Backoff(first_s=0.01, longest_s=0.02, attempts=3)
FOR_EVER = "import time; time.sleep(600)"
DEADLINE_S = 30.0


def program(name: str, code: str, **changes: object) -> ProcessSpec:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    values: dict[str, object] = {"environment": dict(os.environ), "backoff": QUICK, **changes}
    return ProcessSpec(name, lambda: command, **values)  # type: ignore[arg-type]


def file_check(file: Path) -> Callable[[], str | None]:
    return lambda: None if file.exists() else f"{file.name} is not there"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def supervisor(folder: RunFolder, *specs: ProcessSpec) -> Supervisor:
    return Supervisor(
        specs,
        folder,
        run_id=f"test-{os.getpid()}-{time.monotonic_ns()}",
        pid=os.getpid(),
        broker=BrokerState("none", "127.0.0.1:1", False, "none"),
        urls={},
    )


def run_until(it: Supervisor, done: Callable[[RuntimeState], bool], then: Callable[[], None] | None = None) -> None:
    """Run until `done`, then stop (or call `then`, which stops later)."""
    deadline = time.monotonic() + DEADLINE_S

    def watch() -> None:
        if time.monotonic() > deadline:
            it.stop()
            it.stop()
        elif done(it.state):
            (then or it.stop)()

    it.run(while_running=watch)
    assert time.monotonic() < deadline, [
        (process.name, process.state, process.reason) for process in it.state.processes
    ]


def running(state: RuntimeState) -> bool:
    return state.phase == "running"


def test_processes_start_in_order_and_only_when_what_they_need_is_ready(folder: RunFolder, tmp_path: Path) -> None:
    slow = program(
        "broker",
        f"import pathlib, time; time.sleep(0.5); pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(600)",
        ready=file_check(tmp_path / "up"),
    )
    dependent = program(
        "worker",
        f"""
        import pathlib, time
        pathlib.Path({str(tmp_path / "seen")!r}).write_text(str(pathlib.Path({str(tmp_path / "up")!r}).exists()))
        time.sleep(600)
        """,
        after=("broker",),
        ready=file_check(tmp_path / "seen"),
    )
    run_until(supervisor(folder, slow, dependent), running)
    assert (tmp_path / "seen").read_text() == "True"


def test_what_comes_after_waits_for_the_work_done_on_readiness(folder: RunFolder) -> None:
    order: list[str] = []
    first = program("broker", FOR_EVER, on_ready=lambda progress: order.append("topics"))
    second = program("worker", FOR_EVER, after=("broker",), prepare=lambda progress: order.append("worker"))
    run_until(supervisor(folder, first, second), running)
    assert order == ["topics", "worker"]


def test_a_process_that_is_killed_is_started_again(folder: RunFolder) -> None:
    it = supervisor(folder, program("worker", FOR_EVER))
    killed: list[int] = []

    def ready_again(state: RuntimeState) -> bool:
        process = state.processes[0]
        if state.phase == "running" and not killed:
            assert process.pid is not None
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        return bool(killed) and process.state == "ready" and process.pid not in (None, *killed)

    run_until(it, ready_again)
    assert it.state.processes[0].restarts == 1


def test_a_crash_loop_is_given_up_with_the_reason_and_the_last_words(folder: RunFolder) -> None:
    it = supervisor(
        folder,
        program("broker", FOR_EVER),
        program("worker", "raise SystemExit('no disk left')", ready=lambda: "not yet"),
    )
    state = it.run()
    assert state.phase == "failed"
    assert "worker: gave up after 4 starts" in state.reason
    assert "exit code 1" in state.reason and "no disk left" in state.reason
    assert {process.name: process.state for process in state.processes} == {"broker": "stopped", "worker": "failed"}


def test_an_optional_process_that_fails_does_not_stop_the_system(folder: RunFolder) -> None:
    it = supervisor(
        folder, program("broker", FOR_EVER), program("extra", "raise SystemExit(3)", required=False, ready=lambda: "no")
    )
    run_until(it, lambda state: running(state) and state.processes[1].state == "failed")
    assert it.state.phase == "stopped"


def test_a_process_that_never_becomes_ready_fails_the_start_and_says_what_it_lacks(folder: RunFolder) -> None:
    it = supervisor(folder, program("serve", FOR_EVER, ready=lambda: "/readyz answers 503", start_timeout_s=0.3))
    assert "not ready after 0 s: /readyz answers 503" in it.run().reason


def test_the_whole_start_has_a_time_limit(folder: RunFolder) -> None:
    it = supervisor(folder, program("serve", FOR_EVER, ready=lambda: "the model is loading"))
    state = it.run(timeout_s=0.3)
    assert state.phase == "failed"
    assert "serve (starting) the model is loading" in state.reason


def test_a_missing_program_is_a_reason_and_not_a_crash(folder: RunFolder) -> None:
    state = supervisor(
        folder, ProcessSpec("ghost", lambda: ["/no/such/program"], dict(os.environ), backoff=QUICK)
    ).run()
    assert "/no/such/program" in state.reason


def test_a_wrong_setup_is_not_tried_again(folder: RunFolder) -> None:
    tries: list[int] = []

    def prepare(progress: Callable[[str], None]) -> None:
        tries.append(1)
        raise ConfigurationError("Java is missing")

    assert "Java is missing" in supervisor(folder, program("broker", FOR_EVER, prepare=prepare)).run().reason
    assert len(tries) == 1


def test_a_preparation_that_fails_for_now_is_tried_again(folder: RunFolder) -> None:
    tries: list[int] = []

    def prepare(progress: Callable[[str], None]) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("Maven Central does not answer")

    run_until(supervisor(folder, program("broker", FOR_EVER, prepare=prepare)), running)
    assert len(tries) == 3


def test_processes_stop_in_reverse_order(folder: RunFolder, tmp_path: Path) -> None:
    log = tmp_path / "stops"
    code = """
        import signal, sys, time
        def stop(*_):
            time.sleep(0.2)
            open({log!r}, "a").write({name!r} + " ")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        open({ready!r}, "w").close()
        time.sleep(600)
    """
    names = ["broker", "serve", "worker"]
    specs = [
        program(
            name,
            code.format(log=str(log), name=name, ready=str(tmp_path / name)),
            after=tuple(names[:number]),
            ready=file_check(tmp_path / name),
        )
        for number, name in enumerate(names)
    ]
    run_until(supervisor(folder, *specs), running)
    assert log.read_text().split() == ["worker", "serve", "broker"]


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace_with_its_children(
    folder: RunFolder, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    deaf = program(
        "deaf",
        f"""
        import os, signal, subprocess, sys, time, pathlib
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        pathlib.Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(600)
        """,
        ready=file_check(pids),
        stop_grace_s=0.2,
    )
    it = supervisor(folder, deaf)
    run_until(it, running)
    assert "did not stop in time" in it.state.processes[0].reason
    assert not any(_runs(int(pid)) for pid in pids.read_text().split())


def test_what_a_crashed_process_has_left_is_ended_before_it_starts_again(folder: RunFolder, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leaves_a_child = program(
        "serve",
        f"""
        import subprocess, sys, time, pathlib
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with pathlib.Path({str(pids)!r}).open("a") as file:
            file.write(f"{{child.pid}}\\n")
        sys.exit(1)
        """,
        ready=lambda: "never",
    )
    supervisor(folder, leaves_a_child).run()
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 4
    assert not any(_runs(pid) for pid in left)


def test_logs_of_earlier_starts_are_kept_beside_the_newest(folder: RunFolder) -> None:
    supervisor(folder, program("worker", "print('a start'); raise SystemExit(1)", ready=lambda: "never")).run()
    assert sorted(file.name for file in folder.logs.iterdir()) == [
        "worker.log",
        *(f"worker.log.{n}" for n in (1, 2, 3)),
    ]


def test_the_children_of_a_killed_supervisor_do_not_live_on(tmp_path: Path) -> None:
    code = f"""
        import os, sys
        from pathlib import Path
        from infra.runtime import BrokerState, RunFolder
        from infra.supervisor.spec import ProcessSpec
        from infra.supervisor.supervisor import Supervisor
        spec = ProcessSpec("worker", lambda: [sys.executable, "-c", {FOR_EVER!r}], dict(os.environ))
        broker = BrokerState("none", "127.0.0.1:1", False, "none")
        folder = RunFolder(Path({str(tmp_path)!r}))
        Supervisor([spec], folder, run_id="killed-1", pid=os.getpid(), broker=broker, urls={{}}).run()
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    folder = RunFolder(tmp_path)
    _wait(lambda: (state := folder.read()) is not None and state.phase == "running")
    state = folder.read()
    assert state is not None
    process.kill()
    process.wait()
    _wait(lambda: not process_tree.remains("killed-1", state.processes))


def test_a_dependency_that_does_not_exist_is_refused(folder: RunFolder) -> None:
    with pytest.raises(ConfigurationError, match=r"worker comes after \['broker'\]"):
        supervisor(folder, program("worker", FOR_EVER, after=("broker",)))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)

"""The state file, the lock and the settings handed to children."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import load_settings
from infra.ports import free_port, holder, require_free
from infra.runtime import AlreadyRunning, BrokerState, ProcessState, RunFolder, RuntimeState, settings_environment


def state() -> RuntimeState:
    return RuntimeState(
        run_id="a-b",
        supervisor_pid=os.getpid(),
        phase="running",
        started_at=1.0,
        broker=BrokerState("kafka", "127.0.0.1:9092", True, "durable"),
        urls={"http": "http://127.0.0.1:8080"},
        processes=[ProcessState(name="broker", state="ready", pid=5, members=[(5, 1.5)])],
    )


def test_the_state_comes_back_as_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(state())
    assert folder.read() == state()


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": 1}'])
def test_a_damaged_state_reads_as_none(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.write(state())
    folder.state_file.write_bytes(content)
    assert folder.read() is None


def test_a_second_supervisor_is_refused_with_what_runs(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    with first.locked():
        first.write(state())
        assert second.supervisor_alive()
        with pytest.raises(AlreadyRunning, match=r"supervisor pid \d+, broker \(ready\)"), second.locked():
            pass
    assert not second.supervisor_alive()


def test_children_see_exactly_these_settings(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path, http={"port": 18080}, monitoring={"canary": False}, broker={"bootstrap": "h:1", "kind": "h:1"}
    )
    code = "from core.settings import load_settings; print(load_settings().model_dump_json())"
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=settings_environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == settings.model_dump_json()


def test_a_taken_port_is_refused_with_its_holder_and_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .*\(pid {os.getpid()}\).*RIVERLIGHT_HTTP__PORT"):
            require_free(port, "127.0.0.1", "http.port")
    assert holder(free_port()) is None

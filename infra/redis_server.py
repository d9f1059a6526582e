"""A real redis-server on loopback: for goals and tests that need a Redis which they may kill."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ConfigurationError, RiverlightError, Unavailable
from core.settings import child_environment
from infra.debian_packages import Program, fetch_program
from infra.ports import free_port

_START_S = 30.0


def find_redis(home: Path) -> Program:
    """Return redis-server: from the PATH, from `<home>/debian`, or fetched to there from Debian packages without root.

    Raises:
        ConfigurationError: there is none and none can be had; the message says why.
    """
    try:
        return fetch_program("redis-server", home)
    except RiverlightError as error:
        raise ConfigurationError(f"redis-server is not installed and cannot be fetched: {error}") from error


class RedisServer:
    """One server on a loopback port, which keeps in a folder what it acknowledged."""

    def __init__(self, program: Program, folder: Path, port: int | None = None) -> None:
        """`port` is a free one where none is given."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self._command = [
            str(program.path), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        ]  # fmt: skip
        self._environment = child_environment(**program.environment)
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`host:port`, as `features.redis_url` takes it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it has read its data. Raises Unavailable."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.02)
        self.stop()
        raise Unavailable(f"redis-server did not answer within {_START_S:g} s; see {self._log}")

    def stop(self) -> None:
        """SIGKILL: what it acknowledged is in its file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def running_redis(program: Program, folder: Path) -> Iterator[RedisServer]:
    """Run a server for the length of the block."""
    server = RedisServer(program, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()

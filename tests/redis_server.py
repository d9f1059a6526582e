"""A real redis-server for tests: from PATH, from `<home>/debian`, or unpacked from Debian packages without root."""

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    *("redis-server", "redis-tools", "liblzf1", "libjemalloc2", "libhiredis0.14", "libatomic1"),
    *("liblua5.1-0", "lua-cjson", "lua-bitop"),
)
_START_S = 20


class RedisUnavailable(Exception):
    """There is no redis-server and none can be had; the message says why."""


def find_redis(cache: Path) -> tuple[Path, dict[str, str]]:
    """Return the program and the environment it needs. Raises RedisUnavailable."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path), dict(os.environ)
    home = Path(os.environ.get("RIVERLIGHT_HOME", "var"))
    for root in (home / "debian", cache):
        program = root.resolve() / "usr/bin/redis-server"
        if program.exists():
            return program, _environment(root.resolve())
    _unpack(cache.resolve())
    program = cache.resolve() / "usr/bin/redis-server"
    checked = subprocess.run([program, "--version"], env=_environment(cache.resolve()), capture_output=True, text=True)
    if checked.returncode:
        raise RedisUnavailable(f"the unpacked redis-server does not run here: {checked.stderr.strip()}")
    return program, _environment(cache.resolve())


class RedisServer:
    """One server on a free loopback port, keeping its data in a folder across restarts."""

    def __init__(self, cache: Path, data: Path) -> None:
        self._program, self._environment = find_redis(cache)
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self._data / "redis.log").open("ab")
        command = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._data)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
        self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        output = (self._data / "redis.log").read_text(errors="replace")
        self.stop()
        raise RedisUnavailable(f"redis-server did not answer within {_START_S} s: {output[-500:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis(cache: Path, data: Path) -> Iterator[RedisServer]:
    """Run a server for the length of the block."""
    server = RedisServer(cache, data)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _environment(root: Path) -> dict[str, str]:
    """Let the program find its unpacked libraries, wherever the architecture puts them."""
    folders = [str(path) for path in sorted((root / "usr/lib").glob("*-linux-gnu*"))]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def _unpack(root: Path) -> None:
    if platform.system() != "Linux" or not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise RedisUnavailable("redis-server is not installed, and this is no Debian to fetch it from")
    downloads = root.with_name(root.name + ".download")
    shutil.rmtree(downloads, ignore_errors=True)
    unpacked = downloads / "root"
    unpacked.mkdir(parents=True)
    try:
        fetched = subprocess.run(
            ["apt-get", "download", *PACKAGES], cwd=downloads, capture_output=True, text=True, timeout=120
        )
        if fetched.returncode:
            raise RedisUnavailable(f"redis-server is not installed and cannot be fetched: {fetched.stderr.strip()}")
        for package in sorted(downloads.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True, capture_output=True, timeout=60)
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)  # whole or not at all
    except (subprocess.SubprocessError, OSError) as error:
        raise RedisUnavailable(f"redis-server is not installed and cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(downloads, ignore_errors=True)

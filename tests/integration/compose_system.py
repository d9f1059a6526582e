"""The processes of the compose file without containers: its commands and its environment, only the places replaced."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml

from infra.ports import free_port
from infra.redis_server import RedisServer
from tests.contract.test_object_store import S3StandIn

COMPOSE = Path(__file__).resolve().parents[2] / "infra" / "compose"
RIVERLIGHT = [sys.executable, "-c", "from infra.cli.main import main; main()"]
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose file, with the defaults of its variables."""
    text = _VARIABLE.sub(lambda found: found[2], (COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def make_secrets(folder: Path) -> Path:
    """Run `secrets.sh` in a folder and return where the secrets are."""
    script = folder / "secrets.sh"
    script.write_bytes((COMPOSE / "secrets.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=30)
    return folder / "secrets"


@dataclass
class Places:
    """Where the stores of this test are, by the name that the compose file uses."""

    kafka: str
    postgres: str  # SQLAlchemy URL
    redis: str
    minio: str
    keys: Path  # the folder of the volumes `keys` and `public-keys`
    api: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")


def settings_of(service: str, places: Places, secrets: Path, home: Path) -> dict[str, str]:
    """Return the RIVERLIGHT_* variables of a service, its hosts replaced by `places`."""
    settings = {
        name: _replaced(str(value), places)
        for name, value in services()[service]["environment"].items()
        if name.startswith("RIVERLIGHT_")
    }
    replaced = {"RIVERLIGHT_HOME": str(home), "RIVERLIGHT_MONITORING__HOST": "127.0.0.1"}
    if "RIVERLIGHT_HTTP__HOST" in settings:
        host, _, port = places.api.partition(":")
        replaced |= {"RIVERLIGHT_HTTP__HOST": host, "RIVERLIGHT_HTTP__PORT": port}
    if settings["RIVERLIGHT_SECRETS"]:
        folder = home.with_name(f"{home.name}-secrets")
        folder.mkdir()
        for name in services()[service]["secrets"]:
            text = (secrets / name).read_text(encoding="utf-8")
            (folder / name).write_text(places.postgres if name == "catalogue__url" else _replaced(text, places))
        replaced["RIVERLIGHT_SECRETS"] = str(folder)
    return settings | replaced


def _replaced(text: str, places: Places) -> str:
    text = text.replace("kafka-1:9092,kafka-2:9092,kafka-3:9092", places.kafka)
    text = text.replace("/var/lib/riverlight-", f"{places.keys}/")
    for name, place in (("redis:6379", places.redis), ("minio:9000", places.minio), ("serve:8080", places.api)):
        text = text.replace(name, place)
    return text


def make_keys(places: Places, settings: Mapping[str, str]) -> None:
    """Do what the service `keys` does."""
    for volume in services()["keys"]["volumes"]:
        Path(_replaced(volume.split(":")[1], places)).mkdir(parents=True)
    [script] = services()["keys"]["command"]
    environment = {**os.environ, **settings, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", _replaced(script, places)], env=environment, check=True, timeout=60)


class Process:
    """One service, run from its command. `ready_url` answers 200 once it is ready."""

    def __init__(self, service: str, settings: Mapping[str, str], log: Path, api: str) -> None:
        command = [str(word) for word in services()[service]["command"]]
        self.name = service
        self.log = log
        self.restarts = 0
        self.ready_url = f"http://{api}/readyz"
        if "--metrics-port" in command:
            place = command.index("--metrics-port") + 1
            command[place] = str(free_port())
            self.ready_url = f"http://127.0.0.1:{command[place]}/readyz"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RIVERLIGHT_")}
        self._environment = {**environment, **settings, "OMP_NUM_THREADS": "1"}
        self._command = [*RIVERLIGHT, *command]
        self.popen = self._start()

    def wait_until_ready(self, within_s: float = 280, restarts: int = 2) -> None:
        """Wait for the process; one that ends is started again, as `restart: unless-stopped` does."""
        deadline = time.monotonic() + within_s
        while not self._ready():
            said = self.log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"{self.name} is not ready within {within_s:g} s: {said}"
            if self.popen.poll() is not None:
                assert self.restarts < restarts, f"{self.name} ended with {self.popen.returncode}: {said}"
                self.restarts += 1
                self.popen = self._start()
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return httpx.get(self.ready_url, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as output:
            return subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.popen.terminate()
        try:
            return self.popen.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise


@contextmanager
def s3_stand_in() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve S3's four verbs; yields the place and the objects by path."""
    handler = type("Handler", (S3StandIn,), {"objects": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", handler.objects  # type: ignore[attr-defined]
        server.shutdown()


def restrict(server: RedisServer, users: str) -> None:
    """Give a running Redis the users of the compose system's ACL file, the anonymous one last."""
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        for line in sorted(users.strip().splitlines(), key=lambda line: "default" in line):
            client.execute_command("ACL", "SETUSER", *line.split()[1:])

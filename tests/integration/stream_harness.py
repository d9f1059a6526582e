"""What the stream tests share: topics, numbered events, worker processes, and waiting with a deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from core import topics
from core.events import Click, Event, Impression, Interaction, Upload, UploadCreated, encode, encode_frame
from core.ports import OutgoingRecord
from core.settings import BrokerSettings, ProducerSettings
from storage.log.admin import apply_topics
from storage.log.producer import KafkaPublisher

ROOT = Path(__file__).resolve().parents[2]
START = datetime.now(UTC) - timedelta(minutes=10)


def until(check: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait until `check` is true; fail with `what` and its last value when it is not in time."""
    deadline = time.monotonic() + timeout_s
    value: object = None
    while time.monotonic() < deadline:
        value = check()
        if value:
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s:g} s: {what} (last: {value!r})")


def make_topics(bootstrap: str) -> None:
    apply_topics(bootstrap, topics.ALL, BrokerSettings())


def interaction(number: int, prefix: str = "evt", users: int = 40) -> Click | Impression:
    kind = Click if number % 10 == 0 else Impression
    user = f"user-{number % users}"
    data = Interaction(user_id=user, item_id=f"item-{number % 7}", surface="visual_search", position=number % 20)
    time_ = START + timedelta(milliseconds=number)
    return kind(id=f"{prefix}-{number}", source="test", time=time_, subject=user, data=data)


def upload(number: int, prefix: str, media_id: str | None = None) -> UploadCreated:
    item = f"{prefix}-{number}"
    data = Upload(item_id=item, owner_id="owner", kind="image", media_id=media_id or f"{number:064x}", title=item)
    time_ = START + timedelta(milliseconds=number)
    return UploadCreated(id=f"evt-{item}", source="test", time=time_, subject=item, data=data)


def upload_records(events: Sequence[Event]) -> list[OutgoingRecord]:
    return [OutgoingRecord(topics.UPLOADS.name, event.subject, encode(event)) for event in events]


def publish(bootstrap: str, records: Sequence[OutgoingRecord]) -> None:
    publisher = KafkaPublisher(bootstrap, ProducerSettings(queue_max_records=200_000), client_id="test")
    for record in records:
        publisher.enqueue(record)
    assert publisher.flush(60) == 0
    publisher.close()


def interaction_records(numbers: Sequence[int], prefix: str = "evt", frame: int = 1) -> list[OutgoingRecord]:
    """Return records of `frame` events each; a frame's events share a user, hence a partition."""
    if frame == 1:
        events = [interaction(number, prefix) for number in numbers]
        return [OutgoingRecord(topics.INTERACTIONS.name, event.subject, encode(event)) for event in events]
    records = []
    for start in range(0, len(numbers), frame):
        user = f"user-{(start // frame) % 40}"
        events = [interaction(number, prefix) for number in numbers[start : start + frame]]
        same = [
            msgspec.structs.replace(event, subject=user, data=msgspec.structs.replace(event.data, user_id=user))
            for event in events
        ]
        records.append(OutgoingRecord(topics.INTERACTIONS.name, user, encode_frame(same)))
    return records


@dataclass
class WorkerProcess:
    """A worker as the supervisor starts it."""

    home: Path
    bootstrap: str
    agents: str
    port: int
    module: str = "infra.entry.worker"
    settings: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "WorkerProcess":
        environment = {
            **os.environ,
            "RIVERLIGHT_HOME": str(self.home),
            "RIVERLIGHT_BROKER__BOOTSTRAP": self.bootstrap,
            "OMP_NUM_THREADS": "1",
            **self.settings,
        }
        self.log = (self.home / f"worker-{self.port}.log").open("ab")
        command = [sys.executable, "-m", self.module, "--agents", self.agents]
        command += ["--metrics-port", str(self.port), "--name", f"test-{self.port}"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log)
        return self

    def wait_ready(self) -> "WorkerProcess":
        assert self.process
        until(lambda: self.get("/readyz")[0] == 200 or self.process.poll() is not None, "worker ready", 90)
        assert self.process.poll() is None, self.output()[-3000:]
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str, **labels: str) -> float:
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = self.get("/metrics")[1].splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)
        )

    def output(self) -> str:
        return (self.home / f"worker-{self.port}.log").read_text()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and how long it took."""
        assert self.process
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        return code, time.monotonic() - started


@contextlib.contextmanager
def worker(
    home: Path, bootstrap: str, agents: str, port: int, module: str = "infra.entry.worker", **settings: str
) -> Iterator[WorkerProcess]:
    """Run a worker process until the block ends."""
    running = WorkerProcess(home, bootstrap, agents, port, module, settings).start()
    try:
        yield running
    finally:
        if running.process and running.process.poll() is None:
            running.kill()
        running.log.close()

"""Load on a running system: people who search, producers who send events, applications that read features.

    riverlight up --detach
    make load                                  # 20 users for two minutes; fails when a threshold is broken
    locust -f tests/load/locustfile.py --host http://127.0.0.1:8080     # with locust's own page

The exit code is 1 when any threshold of `THRESHOLDS` is broken; each is said with what was measured.
"""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from locust import FastHttpUser, between, constant_pacing, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from monitoring.canary import canary_image

IMAGES = 50
RUN = uuid.uuid4().hex[:8]


@dataclass(frozen=True)
class Threshold:
    """What a kind of request must keep: 99th percentile in milliseconds, and share of answers that may fail."""

    p99_ms: float
    failures: float = 0.001


THRESHOLDS: Mapping[str, Threshold] = {
    "search by media id": Threshold(p99_ms=250),
    "search by image": Threshold(p99_ms=1500),
    "one event": Threshold(p99_ms=250),
    "frame of 100 events": Threshold(p99_ms=500),
    "features of an item": Threshold(p99_ms=250),
}


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--token", env_var="RIVERLIGHT_TOKEN", default="", is_secret=True, help="Bearer token, if any")


@events.test_start.add_listener
def _upload_images(environment: Environment, **_: Any) -> None:
    """Put images there to be searched for."""
    environment.images = [canary_image(seed) for seed in range(IMAGES)]  # type: ignore[attr-defined]
    environment.media = []  # type: ignore[attr-defined]
    for number, image in enumerate(environment.images):  # type: ignore[attr-defined]
        stored = requests.post(
            f"{environment.host}/v1/media", files={"file": image}, headers=_headers(environment), timeout=30
        )
        stored.raise_for_status()
        media_id = stored.json()["media_id"]
        environment.media.append(media_id)  # type: ignore[attr-defined]
        item = _item(number)
        data = {"item_id": item, "owner_id": "load", "kind": "image", "media_id": media_id}
        requests.post(
            f"{environment.host}/v1/events/uploads",
            json=_event("upload.created", item, data),
            headers=_headers(environment),
            timeout=30,
        ).raise_for_status()


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    broken = []
    for name, threshold in THRESHOLDS.items():
        entries = [entry for (entry_name, _), entry in environment.stats.entries.items() if entry_name == name]
        if not entries:
            continue  # a user class that was not chosen to run
        entry = entries[0]
        p99 = entry.get_response_time_percentile(0.99) or 0
        if p99 > threshold.p99_ms:
            broken.append(f"{name}: p99 {p99:.0f} ms is over {threshold.p99_ms:.0f} ms")
        if entry.fail_ratio > threshold.failures:
            broken.append(f"{name}: {entry.fail_ratio:.2%} failed, over {threshold.failures:.2%}")
    for line in broken:
        print(f"threshold broken: {line}")
    if broken:
        environment.process_exit_code = 1
    elif environment.stats.total.num_requests == 0:
        print("nothing was asked: no request came to an end")
        environment.process_exit_code = 1
    else:
        print("every threshold was kept")
        environment.process_exit_code = 0


class Searcher(FastHttpUser):
    """Looks for pictures, mostly by what is shown already, sometimes by a file."""

    weight = 5
    wait_time = between(0.5, 1.5)

    @task(9)
    def by_media_id(self) -> None:
        media_id = random.choice(self.environment.media)  # type: ignore[attr-defined]
        self.client.post(
            "/v1/search/images", json={"media_id": media_id}, name="search by media id", headers=self._headers
        )

    @task(1)
    def by_image(self) -> None:
        image = random.choice(self.environment.images)  # type: ignore[attr-defined]
        self.client.post(
            "/v1/search/images", files={"file": ("query.png", image)}, name="search by image", headers=self._headers
        )

    def on_start(self) -> None:
        self._headers = _headers(self.environment)


class Producer(FastHttpUser):
    """Sends interactions, one at a time and in frames."""

    weight = 3
    wait_time = constant_pacing(1)

    @task(3)
    def one(self) -> None:
        self.client.post("/v1/events/interactions", json=_click(), name="one event", headers=self._headers)

    @task(1)
    def frame(self) -> None:
        self.client.post(
            "/v1/events/interactions",
            json=[_click() for _ in range(100)],
            name="frame of 100 events",
            headers=self._headers,
        )

    def on_start(self) -> None:
        self._headers = _headers(self.environment)


class FeatureReader(FastHttpUser):
    """Reads what is known of an item now."""

    weight = 2
    wait_time = constant_pacing(0.5)

    @task
    def item(self) -> None:
        self.client.get(
            f"/v1/features/items/{_item(random.randrange(IMAGES))}", name="features of an item", headers=self._headers
        )

    def on_start(self) -> None:
        self._headers = _headers(self.environment)


def _item(number: int) -> str:
    return f"load-{number}"


def _click() -> dict[str, Any]:
    user = f"load-user-{random.randrange(1000)}"
    data = {"user_id": user, "item_id": _item(random.randrange(IMAGES)), "surface": "visual_search", "position": 1}
    return _event("interaction.click", user, data)


def _event(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{RUN}-{uuid.uuid4().hex}",
        "source": "riverlight-load",
        "type": f"riverlight.{kind}",
        "time": datetime.now(UTC).isoformat(),
        "subject": subject,
        "data": data,
    }


def _headers(environment: Environment) -> dict[str, str]:
    token = environment.parsed_options.token if environment.parsed_options else ""
    return {"Authorization": f"Bearer {token}"} if token else {}

"""The freshness canary: a known image goes through the whole path, over and over, as a user's would.

Each run uploads an image that no run before it has sent, asks the public search API until the image is found, deletes
it, and asks until it is gone. Both waits are recorded as histograms: the promise "searchable in a second, gone in a
second" is measured where it is kept, all the time. Canary items live in a category that answers leave out unless
asked for.
"""

import io
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from PIL import Image, ImageDraw

from core.access.credentials import credentials
from core.access.roles import Role
from core.clock import Clock
from core.errors import RiverlightError
from core.ids import event_id
from core.settings import MonitoringSettings, Settings
from monitoring.catalogue import CANARY_FRESHNESS, CANARY_LAST_SUCCESS, CANARY_RUNS
from monitoring.recorder import Recorder

CATEGORY = "riverlight.canary"
OWNER = "riverlight-canary"
SYSTEM = "visual_search"
POLL_S = 0.02

log = structlog.get_logger(__name__)


class CanaryLate(Exception):
    """The effect was not seen in time."""


@dataclass(frozen=True)
class CanaryResult:
    """One run: seconds until the image was found, and until it was gone again."""

    item_id: str
    searchable_s: float
    gone_s: float


def canary_image(seed: int) -> bytes:
    """Return a PNG of a random face made of shapes, different for every seed, the same for the same one."""
    draw_from = random.Random(seed)

    def colour() -> tuple[int, int, int]:
        return draw_from.randrange(256), draw_from.randrange(256), draw_from.randrange(256)

    image = Image.new("RGB", (96, 96), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = draw_from.randrange(80), draw_from.randrange(80), draw_from.randrange(8, 48)
        shape = draw.ellipse if draw_from.random() < 0.5 else draw.rectangle
        shape((x, y, x + size, y + size), fill=colour(), outline=colour())
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Canary:
    """Runs the canary against one API."""

    def __init__(self, client: httpx.Client, settings: MonitoringSettings, recorder: Recorder, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._recorder = recorder
        self._clock = clock

    def run_once(self, seed: int) -> CanaryResult:
        """Send one image through the path and take it out again.

        Raises:
            CanaryLate: it was not found, or not gone, within `canary_timeout_s`.
            httpx.HTTPError: a call failed.
        """
        item_id = f"canary-{seed:08x}"
        media_id = self._call("POST", "/v1/media", files={"file": ("canary.png", canary_image(seed), "image/png")})[
            "media_id"
        ]
        sent = self._send("created", item_id, self._upload(item_id, media_id))
        try:
            self._wait_until(lambda: self._found(item_id, media_id), "searchable")
            searchable_s = self._clock.monotonic() - sent
            self._recorder.observe(CANARY_FRESHNESS, searchable_s, system=SYSTEM, effect="searchable")
        finally:
            removed = self._send("deleted", item_id, {"item_id": item_id})
        self._wait_until(lambda: not self._found(item_id, media_id), "gone")
        gone_s = self._clock.monotonic() - removed
        self._recorder.observe(CANARY_FRESHNESS, gone_s, system=SYSTEM, effect="gone")
        return CanaryResult(item_id, searchable_s, gone_s)

    def run_forever(self, stop: threading.Event) -> None:
        """Run every `canary_interval_s` until `stop` is set. A failed run is counted and logged, never raised."""
        while not stop.wait(self._settings.canary_interval_s):
            seed = time.time_ns() // 1_000_000 & 0xFFFFFFFF
            try:
                result = self.run_once(seed)
            except CanaryLate as error:
                self._recorder.count(CANARY_RUNS, system=SYSTEM, outcome="late")
                log.warning("canary_late", error=str(error))
            except (httpx.HTTPError, RiverlightError, KeyError, ValueError) as error:
                self._recorder.count(CANARY_RUNS, system=SYSTEM, outcome="error")
                log.warning("canary_failed", error=str(error))
            else:
                self._recorder.count(CANARY_RUNS, system=SYSTEM, outcome="ok")
                self._recorder.set(CANARY_LAST_SUCCESS, self._clock.now().timestamp(), system=SYSTEM)
                log.debug("canary_seen", searchable_s=result.searchable_s, gone_s=result.gone_s)

    def _upload(self, item_id: str, media_id: str) -> dict[str, Any]:
        return {
            "item_id": item_id,
            "owner_id": OWNER,
            "kind": "image",
            "media_id": media_id,
            "title": "freshness canary",
            "category": CATEGORY,
        }

    def _send(self, what: str, item_id: str, data: dict[str, Any]) -> float:
        """Send an upload event and return the monotonic time just before it was sent."""
        started = self._clock.monotonic()
        event = {
            "specversion": "1.0",
            "id": event_id(OWNER, item_id, what),
            "source": OWNER,
            "type": f"riverlight.upload.{what}",
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "subject": item_id,
            "data": data,
        }
        self._call("POST", "/v1/events/uploads", json=event)
        return started

    def _found(self, item_id: str, media_id: str) -> bool:
        answer = self._call(
            "POST",
            "/v1/search/images",
            json={"media_id": media_id, "k": 5, "filters": {"category": CATEGORY}, "include_query": True},
        )
        return any(result["item_id"] == item_id for result in answer["results"])

    def _wait_until(self, seen: Callable[[], bool], effect: str) -> None:
        deadline = self._clock.monotonic() + self._settings.canary_timeout_s
        while not seen():
            if self._clock.monotonic() > deadline:
                raise CanaryLate(f"not {effect} after {self._settings.canary_timeout_s:g} s")
            time.sleep(POLL_S)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self._client.request(method, path, **arguments)
        response.raise_for_status()
        body = response.json()
        if not isinstance(body, dict):
            raise ValueError(f"{method} {path} did not answer with an object")
        return body


def run_canary(settings: Settings, recorder: Recorder, clock: Clock, stop: threading.Event) -> None:
    """Run the canary against the API that `settings.api_url` names until `stop` is set."""
    shown = credentials(settings, clock, subject=OWNER, roles=(Role.producer, Role.reader))
    with httpx.Client(
        base_url=settings.api_url,
        timeout=settings.monitoring.canary_timeout_s,
        event_hooks={"request": [lambda request: request.headers.update(shown())]},
    ) as client:
        Canary(client, settings.monitoring, recorder, clock).run_forever(stop)

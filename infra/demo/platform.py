"""The platform as a producer and an application see it: a small asynchronous client of the HTTP API."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from core.access.credentials import Headers, no_headers
from core.errors import RiverlightError, Unavailable
from core.ids import event_id

SOURCE = "riverlight-demo"


class PlatformRefused(RiverlightError):
    """The API answered with an error that trying again does not mend."""


@dataclass(frozen=True)
class Answer:
    """The answer to one search: item ids by rank, their scores, and how long the client waited."""

    items: list[str]
    scores: list[float]
    trace_id: str
    latency_s: float


class Platform:
    """Calls the API at `base_url`; busy answers (429, 503) are waited out, a few times."""

    #: Who reviews: the subject of the demo's tokens, too.
    reviewer = SOURCE

    def __init__(self, base_url: str, *, attempts: int = 20, credentials: Headers = no_headers) -> None:
        self._credentials = credentials
        self._http = httpx.AsyncClient(base_url=base_url, timeout=30)
        self._attempts = attempts

    async def close(self) -> None:
        await self._http.aclose()

    async def upload_media(self, name: str, data: bytes) -> str:
        """Store one file and return its media id."""
        answer = await self._call("POST", "/v1/media", files={"file": (name, data)})
        return str(answer["media_id"])

    async def send(self, stream: str, events: Sequence[dict[str, Any]]) -> list[str]:
        """Send events to a collector stream; raises PlatformRefused when one of them is not accepted."""
        answer = await self._call("POST", f"/v1/events/{stream}", json=list(events))
        if answer["rejected"]:
            raise PlatformRefused(f"{stream}: {answer['rejected'][0]}")
        return list(answer["accepted"])

    async def search(
        self,
        *,
        media_id: str | None = None,
        image: bytes | None = None,
        k: int = 10,
        min_score: float | None = None,
        filters: dict[str, Any] | None = None,
        include_query: bool = False,
    ) -> Answer:
        """Search by media id or by an image's bytes."""
        started = time.perf_counter()
        if image is not None:
            form: dict[str, Any] = {"k": str(k)}
            if min_score is not None:
                form["min_score"] = str(min_score)
            if filters is not None:
                form["filters"] = json.dumps(filters)
            answer = await self._call("POST", "/v1/search/images", data=form, files={"file": ("query", image)})
        else:
            body: dict[str, Any] = {"media_id": media_id, "k": k, "include_query": include_query}
            if min_score is not None:
                body["min_score"] = min_score
            if filters is not None:
                body["filters"] = filters
            answer = await self._call("POST", "/v1/search/images", json=body)
        results = answer["results"]
        return Answer(
            [result["item_id"] for result in results],
            [result["score"] for result in results],
            answer["trace_id"],
            time.perf_counter() - started,
        )

    async def get(self, path: str) -> dict[str, Any]:
        return await self._call("GET", path)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, json=body)

    async def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        for attempt in range(1, self._attempts + 1):
            try:
                response = await self._http.request(method, path, headers=self._credentials(), **arguments)
            except httpx.TransportError as error:
                if attempt == self._attempts:
                    raise Unavailable(f"{method} {path}: no answer ({error})") from error
                await asyncio.sleep(0.25)
                continue
            if response.status_code not in (429, 503) or attempt == self._attempts:
                break
            await asyncio.sleep(min(float(response.headers.get("Retry-After", "0.2")), 1.0))
        if response.is_error:
            raise PlatformRefused(f"{method} {path} answered {response.status_code}: {response.text[:500]}")
        body: dict[str, Any] = response.json()
        return body


def event(stream_type: str, subject: str, data: dict[str, Any], *key: str) -> dict[str, Any]:
    """Return a CloudEvent of `riverlight.<stream_type>`, its id derived from `key` (or type and subject)."""
    return {
        "specversion": "1.0",
        "id": event_id(SOURCE, stream_type, subject, *key),
        "source": SOURCE,
        "type": f"riverlight.{stream_type}",
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "subject": subject,
        "data": data,
    }


async def wait_until(
    seen: Callable[[], Coroutine[Any, Any, bool]], *, what: str, timeout_s: float, every_s: float = 0.02
) -> float:
    """Ask until the answer is yes, and return how many seconds that took.

    Raises:
        Unavailable: it was still no after `timeout_s`.
    """
    started = time.perf_counter()
    while not await seen():
        if time.perf_counter() - started > timeout_s:
            raise Unavailable(f"{what}: not seen after {timeout_s:g} s")
        await asyncio.sleep(every_s)
    return time.perf_counter() - started

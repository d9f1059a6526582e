"""What goals ask a gateway about its index."""

import time
from typing import Any

import httpx

from core.errors import Unavailable


class IndexApi:
    """`/v1/index` of a running gateway. Every method raises Unavailable when it does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url

    def describe(self) -> dict[str, Any]:
        """Return size, structure, model and place in the log."""
        return self._ask("GET", "/v1/index")

    def wait_items(self, items: int, timeout_s: float) -> float:
        """Return how long it took until the index held so many items."""
        begun = time.monotonic()
        seen = -1
        while time.monotonic() - begun < timeout_s:
            seen = int(self.describe()["items"])
            if seen == items:
                return time.monotonic() - begun
            time.sleep(0.2)
        raise Unavailable(f"after {timeout_s:g} s the index holds {seen} items, should be {items}")

    def verify(self) -> dict[str, Any]:
        """Have the index compared with one built from the log; return both hashes and the differences."""
        return self._until_done("/v1/index/verify")

    def snapshot(self) -> dict[str, Any]:
        """Have a snapshot written."""
        return self._until_done("/v1/index/snapshot")

    def _until_done(self, path: str) -> dict[str, Any]:
        for _ in range(120):  # the gateway answers after some seconds, done or not
            answer = self._ask("POST", path)
            if answer["done"]:
                return answer
        raise Unavailable(f"the gateway at {self._url} is not done with {path}")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        try:
            with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
                answer = client.request(method, path)
                answer.raise_for_status()
                found: dict[str, Any] = answer.json()
                return found
        except httpx.HTTPError as error:
            raise Unavailable(f"the gateway at {self._url} did not answer {path}: {error!r}") from error

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

    def entries_read(self) -> int:
        """Return how many entries of the log have been read since the gateway started."""
        return sum(self.describe()["log"]["entries"].values())

    def wait_entries_read(self, entries: int, timeout_s: float) -> None:
        """Wait until so many entries have been read."""
        deadline = time.monotonic() + timeout_s
        while (read := self.entries_read()) < entries:
            if time.monotonic() > deadline:
                raise Unavailable(f"the gateway has read {read} of {entries} index entries within {timeout_s:g} s")
            time.sleep(0.2)

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

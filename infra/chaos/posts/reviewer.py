"""A person who reviews, through the API, while things break: what they were told is in force must be so in the end."""

import random
import threading
import time
from collections.abc import Collection
from typing import Any, Self

import httpx

_PAUSE_S = 0.2
_TRIES = 200


class Reviewer:
    """Takes jobs about some posts and decides them, one after the other, while the block runs.

    A call without an answer is made again until there is one: the same decision twice is one decision.
    """

    def __init__(
        self, url: str, name: str, post_ids: Collection[str], rng: random.Random, *, every_s: float = 0.3
    ) -> None:
        """Prepare; a new job is looked for `every_s` after the last one."""
        self.told: dict[str, str] = {}  # post -> the action that the last answer said is in force
        self.at_s: list[float] = []  # `time.monotonic()` of each decision that was acknowledged
        self.repeated = 0  # calls that had no answer, or an error of the server
        self.refused: list[str] = []  # answers that are not a decision, and not an error of the server either
        self._name = name
        self._every_s = every_s
        self._posts = frozenset(post_ids)
        self._rng = rng
        self._client = httpx.Client(base_url=url, timeout=15, trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-reviewer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            answer = self._call("GET", "/v1/review/jobs?kind=sample&limit=200")
            found = [job for job in (answer or {}).get("jobs", ()) if job["post_id"] in self._posts]
            if found:
                self._review(self._rng.choice(found))

    def _review(self, job: dict[str, Any]) -> None:
        said = {"action": "allow"} if self._rng.random() < 0.5 else {"action": "enforce", "harm": "spam"}
        path = f"/v1/review/jobs/{job['job_id']}"
        if self._call("POST", f"{path}/lease", {"reviewer": self._name}) is None:
            return
        body = {"reviewer": self._name, "reason": "As it was drawn.", **said}
        decided = self._call("POST", f"{path}/decision", body)
        if decided is not None:
            self.at_s.append(time.monotonic())
            self.told[job["post_id"]] = decided["decision"]["action"]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the answer to a call; None when it was refused. One without an answer is made again, to the end."""
        for _ in range(_TRIES):
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                self.refused.append(f"{method} {path.rpartition('/')[2]}: {answer.status_code} {answer.text[:200]}")
                return None
            self.repeated += 1
            if method == "GET" and self._stop.is_set():
                return None
            time.sleep(_PAUSE_S)
        self.refused.append(f"{method} {path}: no answer in {_TRIES} tries")
        return None

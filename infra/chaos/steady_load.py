"""Calls at a steady pace, whatever the answers: what users do who do not know of each other.

It runs in a thread of its own; what became of each call is known, and nothing is sent twice.
"""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import msgspec

ANSWER_S = 60.0
_IDS = re.compile("[0-9a-f]{32,}")


@dataclass(frozen=True)
class Call:
    """One POST. `kind` groups calls; `ids` are the events in it."""

    kind: str
    path: str
    body: bytes
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What became of a call. Status 0: there was no answer, and `error` says why."""

    call: Call
    at_s: float  # since the load began
    took_s: float
    status: int
    retry_after: bool = False
    error: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def why(self) -> str:
        """What was called and what came, in few words; for counting."""
        return f"{self.call.kind}: {self.status or ''} {_IDS.sub('…', self.error)[:120]}".strip()


class SteadyLoad:
    """Begins `rate` calls a second until the block ends, then waits for the answers that are missing."""

    def __init__(self, url: str, call: Callable[[int], Call], rate: float) -> None:
        """`call` returns the call with a number, from 0 on."""
        self.answers: list[Answer] = []
        self.begun = 0  # calls
        self.began = 0.0  # `time.monotonic()` when it did
        self._url = url
        self._call = call
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="chaos-load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        began = self.began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(ANSWER_S)) as session:
            while not self._stop.is_set():
                while self.begun < (time.monotonic() - began) * self._rate:
                    task = asyncio.create_task(self._one(session, self._call(self.begun), began))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    self.begun += 1
                await asyncio.sleep(0.002)
            await asyncio.gather(*running)

    async def _one(self, session: aiohttp.ClientSession, call: Call, began: float) -> None:
        sent = time.monotonic()
        status, retry_after, error = 0, False, ""
        try:
            headers = {"content-type": "application/json"}
            async with session.post(self._url + call.path, data=call.body, headers=headers) as answer:
                said = await answer.read()
                status, retry_after = answer.status, "retry-after" in answer.headers
                error = "" if status < 300 else _detail(said)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            error = repr(failure)
        took_s = time.monotonic() - sent
        self.answers.append(Answer(call, sent - began, took_s, status, retry_after, error))


def _detail(body: bytes) -> str:
    """Return what a problem document says, or the beginning of what is none."""
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any])["detail"])
    except (msgspec.MsgspecError, KeyError):
        return body[:200].decode("utf-8", "replace").strip()


def disturbed_s(answers: Sequence[Answer], windows: Sequence[tuple[float, float]]) -> float:
    """Return the longest time from the beginning of a window to the last bad answer in it; 0 where there is none.

    Args:
        answers: those of one load.
        windows: from when until when, in seconds since the load began.
    """
    bad = [one.at_s + one.took_s for one in answers if not one.good]
    return max((at - since for since, until in windows for at in bad if since <= at < until), default=0.0)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest of the values that at least this percentage of them does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[max(1, -(-percent * len(ranked) // 100)) - 1] if ranked else 0.0


def counted(answers: Sequence[Answer]) -> str:
    """Return the failures among answers, the most frequent first, for a note."""
    found = Counter(one.why for one in answers if not one.good)
    return "; ".join(f"{count} {why}" for why, count in found.most_common(6)) or "none"

"""Calls at a steady pace, whatever the answers: what users do who do not know of each other.

It runs in a thread of its own; what became of each call is known, and nothing is sent twice.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import aiohttp

ANSWER_S = 60.0


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


class SteadyLoad:
    """Begins `rate` calls a second until the block ends, then waits for the answers that are missing."""

    def __init__(self, url: str, call: Callable[[int], Call], rate: float) -> None:
        """`call` returns the call with a number, from 0 on."""
        self.answers: list[Answer] = []
        self.begun = 0  # calls
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
        began = time.monotonic()
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
                error = "" if status < 300 else said[:200].decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            error = repr(failure)
        took_s = time.monotonic() - sent
        self.answers.append(Answer(call, sent - began, took_s, status, retry_after, error))


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share (0..1) of the values does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))] if ranked else 0.0

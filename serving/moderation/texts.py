"""Vectors of texts: remembered, and otherwise encoded in one thread, those of several calls together."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from core.errors import Overloaded, Unavailable
from core.ports import TextEncoder
from monitoring.catalogue import MODERATION_SECONDS, MODERATION_TEXTS
from monitoring.recorder import Recorder

Vector = NDArray[np.float32]

_STUCK_AFTER_S = 30.0


class TextVectors:
    """Encodes texts for concurrent callers. For one event loop.

    What was encoded lately is remembered: spam repeats itself, and posts are scored again as reactions arrive.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        recorder: Recorder,
        *,
        batch: int = 64,
        remembered: int = 20_000,
        waiting: int = 4_096,
    ) -> None:
        """`waiting` bounds the texts that wait for the encoder; a call that would exceed it is Overloaded."""
        self.encoder = encoder
        self._recorder = recorder
        self._batch = batch
        self._remembered = remembered
        self._most_waiting = waiting
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Vector]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="text-encoder")
        self._runner: asyncio.Task[None] | None = None
        self._closed = False
        self._busy_since: float | None = None

    async def encode(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector of length 1 for each text.

        Raises:
            Overloaded: too many texts wait.
            Unavailable: closed, or the encoder failed.
        """
        if self._closed:
            raise Unavailable("the moderator is shutting down")
        new = [text for text in dict.fromkeys(texts) if text not in self._known and text not in self._waiting]
        if len(self._waiting) + len(new) > self._most_waiting:
            raise Overloaded(f"{len(self._waiting)} texts wait to be encoded; {self._most_waiting} are the most")
        loop = asyncio.get_running_loop()
        for text in new:
            self._waiting[text] = loop.create_future()
        self._recorder.count(MODERATION_TEXTS, len(new), outcome="encoded")
        self._recorder.count(MODERATION_TEXTS, len(texts) - len(new), outcome="remembered")
        answers = [self._of(text) for text in texts]
        if new and (self._runner is None or self._runner.done()):
            self._runner = asyncio.create_task(self._run(), name="text-vectors")
        return [answer if isinstance(answer, np.ndarray) else await asyncio.shield(answer) for answer in answers]

    def check_health(self) -> None:
        """Raise Unavailable when a call of the encoder has not ended for long: the replica is to be replaced."""
        since = self._busy_since
        if since is not None and time.monotonic() - since > _STUCK_AFTER_S:
            raise Unavailable(f"the text encoder has been running for {time.monotonic() - since:.0f} s")

    def close(self) -> None:
        """Fail what waits. Closing again changes nothing."""
        self._closed = True
        if self._runner is not None:
            self._runner.cancel()
        self._fail(list(self._waiting), Unavailable("the moderator is shutting down"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _of(self, text: str) -> "Vector | asyncio.Future[Vector]":
        known = self._known.get(text)
        if known is None:
            return self._waiting[text]
        self._known.move_to_end(text)
        return known

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = list(self._waiting)[: self._batch]
            try:
                self._busy_since = time.monotonic()
                with self._recorder.time(MODERATION_SECONDS, stage="text"):
                    rows = await loop.run_in_executor(self._thread, self.encoder.encode, batch)
            except Exception as error:
                self._fail(batch, Unavailable(f"the text encoder failed: {error!r}"))
                continue
            finally:
                self._busy_since = None
            for text, row in zip(batch, rows, strict=True):
                self._known[text] = row
                waiting = self._waiting.pop(text)
                if not waiting.done():
                    waiting.set_result(row)
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)

    def _fail(self, texts: Sequence[str], error: Exception) -> None:
        for text in texts:
            waiting = self._waiting.pop(text)
            if not waiting.done() and not waiting.get_loop().is_closed():
                waiting.set_exception(error)
                waiting.exception()  # whoever asked may have gone: nobody has to look

"""Turn single images into batches for one encoder, whose forward passes run in one thread of their own.

The batch grows while the encoder is busy. An idle encoder starts at once, unless more images are known to be on their
way: then it waits for them, at most `wait_s`. A lone query therefore pays nothing for batching.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from core.entries import check_vector
from core.errors import RiverlightError, Unavailable
from core.ports import ImageEncoder
from monitoring.catalogue import ENCODER_BATCH, ENCODER_SECONDS
from monitoring.recorder import Recorder

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]


class ForwardBatcher:
    """Collects images into forward passes of up to `batch_size`. For one event loop."""

    def __init__(
        self, encoder: ImageEncoder, *, batch_size: int, wait_s: float, coming: Callable[[], int], recorder: Recorder
    ) -> None:
        """`coming` tells how many images are in the house: those here, and those still being fetched or decoded."""
        self._encoder = encoder
        self._batch_size = batch_size
        self._wait_s = wait_s
        self._coming = coming
        self._recorder = recorder
        self._waiting: deque[tuple[Pixels, asyncio.Future[Vector]]] = deque()
        self._grown = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder-forward")
        self._runner: asyncio.Task[None] | None = None
        self._forward_since: float | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Images waiting for a forward pass."""
        return len(self._waiting)

    @property
    def busy_for_s(self) -> float:
        """How long the forward pass under way has been running; 0 when idle."""
        since = self._forward_since
        return 0.0 if since is None else time.monotonic() - since

    async def forward(self, pixels: Pixels) -> Vector:
        """Return the `(dim,)` embedding of one `(H, W, 3)` image.

        Raises what the encoder raised for this image (not for another of its batch); Unavailable when closed.
        """
        if self._closed:
            raise Unavailable("the encoder is shutting down")
        answer: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, answer))
        self._grown.set()
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="encoder-batches")
        return await answer

    def close(self) -> None:
        """Fail what waits; a forward pass under way runs to its end, unheard."""
        self._closed = True
        if self._runner is not None and not self._runner.get_loop().is_closed():
            self._runner.cancel()
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done() and not answer.get_loop().is_closed():
                answer.set_exception(Unavailable("the encoder is shutting down"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting:
            await self._let_grow()
            batch = self._take()
            if batch:
                await self._answer(batch)

    async def _let_grow(self) -> None:
        deadline = time.monotonic() + self._wait_s
        while len(self._waiting) < min(self._batch_size, self._coming()):
            self._grown.clear()
            try:
                await asyncio.wait_for(self._grown.wait(), deadline - time.monotonic())
            except TimeoutError:
                return

    def _take(self) -> list[tuple[Pixels, asyncio.Future[Vector]]]:
        batch: list[tuple[Pixels, asyncio.Future[Vector]]] = []
        while self._waiting and len(batch) < self._batch_size:
            item = self._waiting.popleft()
            if not item[1].done():  # whoever asked may have gone
                batch.append(item)
        return batch

    async def _answer(self, batch: list[tuple[Pixels, asyncio.Future[Vector]]]) -> None:
        try:
            vectors = await self._encode([pixels for pixels, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for item in batch:  # one image must not fail its neighbours
                await self._answer([item])
            return
        except asyncio.CancelledError:
            for _, answer in batch:
                _fail(answer, Unavailable("the encoder is shutting down"))
            raise
        for vector, (_, answer) in zip(vectors, batch, strict=True):
            try:
                check_vector(vector, self._encoder.dim)
            except RiverlightError as error:
                _fail(answer, error)
                continue
            if not answer.done():
                answer.set_result(vector)

    async def _encode(self, images: list[Pixels]) -> NDArray[np.float32]:
        self._recorder.observe(ENCODER_BATCH, len(images))
        with self._recorder.time(ENCODER_SECONDS, stage="forward"):
            self._forward_since = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._encoder.encode, images)
            finally:
                self._forward_since = None


def _fail(answer: asyncio.Future[Vector], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

"""The embedding service in this process: fetch, decode, embed, with a bounded number of images in the house.

A video is one of them; the frames that are looked at pass through the encoder together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from core.entries import check_vector
from core.errors import IntegrityError, InvalidInput, MissingMedia, Overloaded, Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure, ImageEncoder, ObjectStore
from models.embedding_service import MISSING_MEDIA_GRACE_S
from models.media.decoder import MediaDecoder, check_crop
from models.media.nsfw import NsfwModel
from monitoring.catalogue import ENCODER_IMAGES, ENCODER_SECONDS
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer
from serving.batcher import ForwardBatcher

_log = structlog.get_logger(__name__)
_GRACE_STEPS = 2

Result = EncodedImage | EncodeFailure


class ImageEmbedder(EmbeddingService):
    """Embeds images with the encoder, store and decoder it is given. For one event loop."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        store: ObjectStore,
        decoder: MediaDecoder,
        recorder: Recorder,
        batch_size: int,
        wait_s: float,
        max_images: int,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        """`max_images` bounds the images in the house; a call that would exceed it is Overloaded."""
        self._encoder = encoder
        self._store = store
        self._decoder = decoder
        self._recorder = recorder
        self._tracer = tracer
        self._batch_size = batch_size
        self._max_images = max_images
        self._nsfw = NsfwModel()
        self._signal_thread = ThreadPoolExecutor(1, thread_name_prefix="encoder-signals")
        self._admitted = 0  # by calls, and not answered yet
        self._active = 0  # of these, being fetched, decoded or embedded
        self.batcher = ForwardBatcher(
            encoder, batch_size=batch_size, wait_s=wait_s, coming=lambda: self._active, recorder=recorder
        )

    @property
    def admitted(self) -> int:
        """Images in the house."""
        return self._admitted

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = 10.0,
        signals: bool = False,
    ) -> list[Result]:
        """See the port. Raises InvalidInput for a crop that is none.

        No call has more than one batch under way, so a query waits for a part of a long list, not for all of it.
        """
        check_crop(crop)
        turn = asyncio.Semaphore(self._batch_size)

        async def one(media_id: str) -> EncodedImage:
            async with turn:
                with self._active_image():
                    return await self._embed(await self._fetch(media_id), crop, signals)

        return await self._all([partial(one, media_id) for media_id in media_ids], timeout_s)

    async def encode_bytes(self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0) -> Result:
        """See the port. Raises InvalidInput for a crop that is none."""
        check_crop(crop)

        async def one() -> EncodedImage:
            with self._active_image():
                return await self._embed(data, crop, signals=False)

        return (await self._all([one], timeout_s))[0]

    def close(self) -> None:
        """Fail what is under way, as Unavailable; the decoder and the store are their owner's to close."""
        self.batcher.close()
        self._signal_thread.shutdown(wait=False, cancel_futures=True)

    async def _all(self, work: Sequence[Callable[[], Awaitable[EncodedImage]]], timeout_s: float) -> list[Result]:
        if self._admitted and self._admitted + len(work) > self._max_images:
            raise Overloaded(f"{self._admitted} images are being embedded; {self._max_images} are the most")
        self._admitted += len(work)
        try:
            deadline = asyncio.get_running_loop().time() + timeout_s
            async with asyncio.TaskGroup() as tasks:  # when the caller is cancelled, so is everything it asked for
                answers = [tasks.create_task(self._outcome(one, deadline)) for one in work]
            return [answer.result() for answer in answers]
        finally:
            self._admitted -= len(work)

    async def _outcome(self, one: Callable[[], Awaitable[EncodedImage]], deadline: float) -> Result:
        result: Result
        try:
            async with asyncio.timeout_at(deadline):
                result = await one()
        except TimeoutError:
            result = EncodeFailure("timeout", "the image was not embedded before the deadline", transient=True)
        except Unavailable as error:
            result = EncodeFailure(error.code, str(error), transient=True)
        except (InvalidInput, IntegrityError) as error:
            result = EncodeFailure(error.code, str(error), transient=False)
        except Exception as error:  # of one image; its neighbours have their answers
            _log.error("embedding_failed", exc_info=error)
            result = EncodeFailure("internal", f"{type(error).__name__} while embedding the image", transient=False)
        outcome = result.code if isinstance(result, EncodeFailure) else "ok"
        self._recorder.count(ENCODER_IMAGES, outcome=outcome)
        return result

    @contextmanager
    def _active_image(self) -> Iterator[None]:
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    async def _fetch(self, media_id: str) -> bytes:
        with self._tracer.span("fetch"), self._recorder.time(ENCODER_SECONDS, stage="fetch"):
            for _ in range(_GRACE_STEPS):
                try:
                    return await self._store.get(media_id)
                except MissingMedia:
                    await asyncio.sleep(MISSING_MEDIA_GRACE_S / _GRACE_STEPS)
            return await self._store.get(media_id)

    async def _embed(self, data: bytes, crop: Crop | None, signals: bool) -> EncodedImage:
        with self._tracer.span("decode"), self._recorder.time(ENCODER_SECONDS, stage="decode"):
            image = await self._decoder.decode(data, crop=crop)
        vector, nsfw = await asyncio.gather(self._forward(image.frames), self._nsfw_score(image.frames, signals))
        return EncodedImage(
            vector,
            image.phash,
            image.width,
            image.height,
            self._encoder.version,
            frame_phashes=image.phashes,
            nsfw=nsfw,
        )

    async def _forward(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._tracer.span("forward"):  # its wait for a batch included
            return _mean(await asyncio.gather(*(self.batcher.forward(frame) for frame in frames)))

    async def _nsfw_score(self, frames: NDArray[np.uint8], wanted: bool) -> float | None:
        if not wanted:
            return None
        with self._tracer.span("nsfw"), self._recorder.time(ENCODER_SECONDS, stage="nsfw"):
            return await asyncio.get_running_loop().run_in_executor(self._signal_thread, self._nsfw.score, list(frames))


def _mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean direction of `(dim,)` vectors of length 1. Raises InvalidVector where they cancel out."""
    if len(vectors) == 1:
        return vectors[0]
    total = np.sum(vectors, axis=0, dtype=np.float32)
    mean: NDArray[np.float32] = np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
    check_vector(mean, len(mean))
    return mean

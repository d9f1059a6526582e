"""The embedding service over a Ray Serve handle: arrays go from process to process without JSON."""

import time
from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from core.errors import Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure
from models.embedding_service import MAX_IMAGES_PER_CALL
from monitoring.logs import current_trace_id
from monitoring.tracing import NO_TRACING, Tracer
from serving.handle_calls import answer_of

_NOUN = "the image encoder"


class HandleEmbeddingService(EmbeddingService):
    """Asks an `ImageEncoderService` deployment of the same Ray cluster."""

    def __init__(self, handle: DeploymentHandle, tracer: Tracer = NO_TRACING) -> None:
        self._handle = handle
        self._tracer = tracer

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = 10.0,
        signals: bool = False,
    ) -> list[EncodedImage | EncodeFailure]:
        """See the port. Long lists are asked for in several calls, one after the other, each with the time-out."""
        results: list[EncodedImage | EncodeFailure] = []
        for start in range(0, len(media_ids), MAX_IMAGES_PER_CALL):
            asked = list(media_ids[start : start + MAX_IMAGES_PER_CALL])
            results.extend(await self._ask(self._handle.encode_media, asked, crop, timeout_s, signals=signals))
        return results

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        """See the port."""
        return await self._ask(self._handle.encode_bytes, data, crop, timeout_s)

    async def _ask(
        self, method: Any, what: list[str] | bytes, crop: Crop | None, timeout_s: float, **options: bool
    ) -> Any:
        """Call a method of the deployment; where the replica that has the call dies, once more, of another one.

        Embedding changes nothing, so it may be asked for twice. Not more often: an image that kills whoever looks at it
        would go through all of them.
        """
        deadline = time.monotonic() + timeout_s
        sent = {"crop": crop, **options, **self._context()}
        try:
            return await answer_of(method.remote(what, timeout_s=timeout_s, **sent), timeout_s, _NOUN)
        except Unavailable as error:
            left_s = deadline - time.monotonic()
            if not isinstance(error.__cause__, RayActorError) or left_s <= 0:
                raise
        return await answer_of(method.remote(what, timeout_s=left_s, **sent), left_s, _NOUN)

    def _context(self) -> dict[str, str | None]:
        """What ties the encoder's log lines and spans to ours."""
        return {"trace_id": current_trace_id(), **self._tracer.headers()}

    async def describe(self) -> tuple[str, int]:
        """Return the encoder's model version and dimension. Raises Unavailable."""
        return await answer_of(self._handle.describe.remote(), 10.0, _NOUN)

"""The image encoder as a service: a plain class that Ray Serve deploys, and that any ASGI server can run.

Everything alive (model, store, decoding processes) is opened in the constructor, in the process that serves; what is
pickled on the way there is the settings and the name of a function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np
import structlog
from starlette.requests import Request
from starlette.responses import Response

from core.clock import SystemClock
from core.errors import InvalidInput, Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure, ImageEncoder, ObjectStore
from core.settings import Settings
from models.embedding_service import MAX_TIMEOUT_S, EncodeReply, EncodeRequest, to_wire
from models.media.decoder import MediaDecoder
from monitoring.catalogue import MODEL_CREATED
from monitoring.exposition import MetricsPort
from monitoring.logs import in_trace
from monitoring.recorder import Recorder
from monitoring.tracing import open_tracer
from serving.access import EVERYBODY, open_door
from serving.embedder import ImageEmbedder
from serving.replica_http import SERVICES, WATCHERS, Routes, answer_request, read_body, while_connected
from serving.replica_ports import bind_replica_ports_here
from storage.objects import open_object_store

_log = structlog.get_logger(__name__)
_MAX_JSON_BYTES = 64 * 1024
_STUCK_AFTER_S = 30.0
_DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class EncoderParts:
    """What the service works with."""

    encoder: ImageEncoder
    store: ObjectStore
    trained: datetime | None = None  # when; None where nobody recorded it


def open_parts(settings: Settings) -> EncoderParts:
    """Open the encoder and the object store that the settings name."""
    # Torch takes seconds to import, and whoever merely deploys this class does not need it.
    from models.registry.packaged import open_registry
    from models.visual_search.load import load_encoder

    registry = open_registry(settings.home)
    encoder = load_encoder(settings.encoder, registry)
    trained = None
    if settings.encoder.kind == "lite":
        model, _, version = encoder.version.partition("/")
        trained = datetime.fromisoformat(registry.show(model, version).manifest.created)
    return EncoderParts(encoder, open_object_store(settings.objects_url), trained)


class ImageEncoderService(EmbeddingService):
    """Embeds images by reference or by value; over HTTP, and by method calls over a deployment handle.

    Not ready before its constructor returns; unhealthy (`check_health`, `/healthz`) when a forward pass hangs.
    """

    def __init__(self, settings: Settings, open_parts: Callable[[Settings], EncoderParts] = open_parts) -> None:
        """Load the model, start the decoding processes, and embed one blank image to warm up.

        Raises ConfigurationError, NotFound or IntegrityError when the model, the store or the keys cannot be opened.
        """
        bind_replica_ports_here()
        self._door = open_door(settings, SystemClock())
        parts = open_parts(settings)
        parts.encoder.encode([np.zeros((64, 64, 3), np.uint8)])
        self._encoder = parts.encoder
        self._max_bytes = max(settings.media.max_bytes, settings.media.max_video_bytes)
        self._recorder = Recorder(process_metrics=True)
        self._tracer = open_tracer(settings.tracing, "image-encoder", settings.home.resolve())
        if parts.trained is not None:
            self._recorder.set(MODEL_CREATED, parts.trained.timestamp(), version=parts.encoder.version)
        self._decoder = MediaDecoder(settings.media)
        self._decoder.start()
        self._embedder = ImageEmbedder(
            encoder=parts.encoder,
            store=parts.store,
            decoder=self._decoder,
            recorder=self._recorder,
            batch_size=settings.encoder.batch_size,
            wait_s=settings.serving.encoder_wait_s,
            max_images=settings.serving.max_ongoing_requests + settings.serving.max_queued_requests,
            tracer=self._tracer,
        )
        watched = settings.monitoring
        self._metrics_port = MetricsPort(self._recorder, watched.host, watched.encoder_metrics_port)
        self.routes: Routes = {
            ("POST", "encode"): (SERVICES, self._post_encode),
            ("POST", "encode-bytes"): (SERVICES, self._post_encode_bytes),
            ("GET", "healthz"): (EVERYBODY, self._get_health),
            ("GET", "metrics"): (WATCHERS, self._get_metrics),
        }

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        signals: bool = False,
        trace_id: str | None = None,
        traceparent: str | None = None,
    ) -> list[EncodedImage | EncodeFailure]:
        """See the port. `trace_id` is for the log; `traceparent`: the caller's trace, of which this becomes a part."""
        with (
            in_trace(trace_id),
            self._tracer.span("encode", {"riverlight.images": len(media_ids)}, parent=traceparent, kind="server"),
        ):
            return await self._embedder.encode_media(media_ids, crop=crop, timeout_s=timeout_s, signals=signals)

    async def encode_bytes(
        self,
        data: bytes,
        *,
        crop: Crop | None = None,
        timeout_s: float = _DEFAULT_TIMEOUT_S,
        trace_id: str | None = None,
        traceparent: str | None = None,
    ) -> EncodedImage | EncodeFailure:
        """See the port. `trace_id` is for the log; `traceparent`: the caller's trace, of which this becomes a part."""
        with (
            in_trace(trace_id),
            self._tracer.span("encode", {"riverlight.images": 1}, parent=traceparent, kind="server"),
        ):
            return await self._embedder.encode_bytes(data, crop=crop, timeout_s=timeout_s)

    async def describe(self) -> tuple[str, int]:
        """Return the model version and the dimension of its vectors."""
        return self._encoder.version, self._encoder.dim

    def check_health(self) -> None:
        """Raise Unavailable when a forward pass has not ended for long: the replica is to be replaced."""
        busy_for_s = self._embedder.batcher.busy_for_s
        if busy_for_s > _STUCK_AFTER_S:
            raise Unavailable(f"a forward pass has been running for {busy_for_s:.0f} s")

    @property
    def admitted(self) -> int:
        """Images being worked on."""
        return self._embedder.admitted

    def close(self) -> None:
        """Fail what is under way and end the decoding processes. Closing again changes nothing."""
        self._embedder.close()
        self._decoder.close()
        self._tracer.close()
        self._metrics_port.close()

    def __del__(self) -> None:  # how Ray Serve tells a replica that it ends
        if hasattr(self, "routes"):
            self.close()

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await answer_request(request, noun="the image encoder", door=self._door, routes=self.routes)

    async def _post_encode(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await read_body(request, _MAX_JSON_BYTES), type=EncodeRequest)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the body is not a request to encode: {error}") from error
        work = self.encode_media(
            asked.media_ids,
            crop=asked.crop,
            timeout_s=asked.timeout_s,
            signals=asked.signals,
            traceparent=request.headers.get("traceparent"),
        )
        return _reply(await while_connected(request, work))

    async def _post_encode_bytes(self, request: Request) -> Response:
        crop, timeout_s = _crop_of(request), _timeout_of(request)
        data = await read_body(request, self._max_bytes)
        work = self.encode_bytes(data, crop=crop, timeout_s=timeout_s, traceparent=request.headers.get("traceparent"))
        return _reply([await while_connected(request, work)])

    async def _get_health(self, request: Request) -> Response:
        self.check_health()
        version, dim = await self.describe()
        batcher = self._embedder.batcher
        health = {
            "status": "ok",
            "model_version": version,
            "dim": dim,
            "admitted": self.admitted,
            "forward_busy_s": round(batcher.busy_for_s, 3),
            "decoders_replaced": self._decoder.replaced,
        }
        return Response(msgspec.json.encode(health), media_type="application/json")

    async def _get_metrics(self, request: Request) -> Response:
        body, content_type = self._recorder.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def _reply(results: Sequence[EncodedImage | EncodeFailure]) -> Response:
    reply = EncodeReply(results=[to_wire(result) for result in results])
    return Response(msgspec.json.encode(reply), media_type="application/json")


def _crop_of(request: Request) -> Crop | None:
    text = request.query_params.get("crop")
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"crop={text[:100]!r} is not x,y,width,height") from None
    return x, y, width, height


def _timeout_of(request: Request) -> float:
    text = request.query_params.get("timeout_s", str(_DEFAULT_TIMEOUT_S))
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InvalidInput(f"timeout_s={text[:100]!r} is not a number of seconds up to {MAX_TIMEOUT_S:g}")
    return timeout_s

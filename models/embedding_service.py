"""The embedding service over HTTP: its wire format, and the client that is an `EmbeddingService`.

Vectors travel as little-endian float32 in base64. A failure of one image is a value; only a service that did not
answer as a whole is an exception. What a failure's `transient` says:

* true: time-outs, a full queue, a store or decoder that did not answer. Worth repeating.
* false: this image will fail again. Missing media is among these: bytes are stored before the event that names them is
  published (claim check), and the service itself waits `MISSING_MEDIA_GRACE_S` for a store that is behind. So is an
  error nobody foresaw (code `internal`): repeating it for ever would hold up everything behind it.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from core.access.credentials import Headers, no_headers
from core.entries import pack_vector, unpack_vector
from core.errors import InvalidVector, TooLarge, Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure
from models.service_client import ServiceClient

ENCODER_PREFIX = "/models/image-encoder"
MAX_IMAGES_PER_CALL = 64
MISSING_MEDIA_GRACE_S = 0.5
MAX_TIMEOUT_S = 60.0


class EncodeRequest(Struct, kw_only=True, frozen=True):
    """Images and videos by reference. `crop` and `signals` apply to each of them."""

    media_ids: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(min_length=1, max_length=MAX_IMAGES_PER_CALL)]
    crop: tuple[float, float, float, float] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)] = 10.0
    signals: bool = False


class Encoded(Struct, kw_only=True, frozen=True, tag_field="outcome", tag="ok"):
    """An `EncodedImage` on the wire."""

    vector: bytes
    phash: str
    width: int
    height: int
    model_version: str
    frame_phashes: list[str] = []
    nsfw: float | None = None


class Failed(Struct, kw_only=True, frozen=True, tag_field="outcome", tag="failed"):
    """An `EncodeFailure` on the wire."""

    code: str
    message: str
    transient: bool


class EncodeReply(Struct, kw_only=True, frozen=True):
    """One result for each image asked for, in that order."""

    results: list[Encoded | Failed]


_REPLY = msgspec.json.Decoder(EncodeReply)


def to_wire(result: EncodedImage | EncodeFailure) -> Encoded | Failed:
    """Return a result as it travels."""
    if isinstance(result, EncodeFailure):
        return Failed(code=result.code, message=result.message, transient=result.transient)
    return Encoded(
        vector=pack_vector(result.vector),
        phash=result.phash,
        width=result.width,
        height=result.height,
        model_version=result.model_version,
        frame_phashes=list(result.frame_phashes),
        nsfw=result.nsfw,
    )


def from_wire(result: Encoded | Failed) -> EncodedImage | EncodeFailure:
    """Read `to_wire` back. Raises InvalidVector when the vector is none."""
    if isinstance(result, Failed):
        return EncodeFailure(code=result.code, message=result.message, transient=result.transient)
    return EncodedImage(
        unpack_vector(result.vector),
        result.phash,
        result.width,
        result.height,
        result.model_version,
        tuple(result.frame_phashes),
        result.nsfw,
    )


class HttpEmbeddingService(EmbeddingService):
    """Asks an image encoder over HTTP. One object for a process; `aclose` it at the end."""

    def __init__(self, base_url: str, *, max_connections: int = 32, credentials: Headers = no_headers) -> None:
        """See `ServiceClient`."""
        self._client = ServiceClient(
            "the image encoder", base_url, ENCODER_PREFIX, max_connections=max_connections, credentials=credentials
        )

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = 10.0,
        signals: bool = False,
    ) -> list[EncodedImage | EncodeFailure]:
        """See the port. More than `MAX_IMAGES_PER_CALL` ids are asked for in several calls, one after the other."""
        results: list[EncodedImage | EncodeFailure] = []
        for start in range(0, len(media_ids), MAX_IMAGES_PER_CALL):
            asked = list(media_ids[start : start + MAX_IMAGES_PER_CALL])
            request = EncodeRequest(
                media_ids=asked, crop=crop, timeout_s=min(timeout_s, MAX_TIMEOUT_S), signals=signals
            )
            results.extend(
                self._read(await self._client.post("/encode", msgspec.json.encode(request), timeout_s), len(asked))
            )
        return results

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        """See the port."""
        parameters = {"timeout_s": repr(min(timeout_s, MAX_TIMEOUT_S))}
        if crop is not None:
            parameters["crop"] = ",".join(repr(float(value)) for value in crop)
        try:
            answer = await self._client.post(
                "/encode-bytes", data, timeout_s, content_type="application/octet-stream", parameters=parameters
            )
        except TooLarge as error:
            return EncodeFailure(error.code, str(error), transient=False)
        return self._read(answer, 1)[0]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _read(self, body: bytes, expected: int) -> list[EncodedImage | EncodeFailure]:
        try:
            results = [from_wire(result) for result in _REPLY.decode(body).results]
        except (msgspec.MsgspecError, InvalidVector) as error:
            raise Unavailable(f"{self._client.url} does not answer like an image encoder: {error}") from error
        if len(results) != expected:
            raise Unavailable(f"the image encoder answered {len(results)} results for {expected} images")
        return results

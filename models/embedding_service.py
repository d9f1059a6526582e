"""The embedding service over HTTP: its wire format, and the client that is an `EmbeddingService`.

Vectors travel as little-endian float32 in base64. A failure of one image is a value; only a service that did not
answer as a whole is an exception. What a failure's `transient` says:

* true: time-outs, a full queue, a store or decoder that did not answer. Worth repeating.
* false: this image will fail again. Missing media is among these: bytes are stored before the event that names them is
  published (claim check), and the service itself waits `MISSING_MEDIA_GRACE_S` for a store that is behind. So is an
  error nobody foresaw (code `internal`): repeating it for ever would hold up everything behind it.
"""

from collections.abc import Sequence
from typing import Annotated, NoReturn

import httpx
import msgspec
from msgspec import Meta, Struct

from core.access.credentials import Headers, no_headers
from core.entries import pack_vector, unpack_vector
from core.errors import InvalidInput, InvalidVector, Overloaded, TooLarge, Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure

ENCODER_PREFIX = "/models/image-encoder"
MAX_IMAGES_PER_CALL = 64
MISSING_MEDIA_GRACE_S = 0.5
MAX_TIMEOUT_S = 60.0
_MAX_RETRY_AFTER_S = 60.0
_ANSWER_MARGIN_S = 1.0  # the service keeps the deadline itself; this is for its answer to arrive


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
    """Asks an image encoder over HTTP, on kept-alive connections. One object for a process; `aclose` it at the end."""

    def __init__(self, base_url: str, *, max_connections: int = 32, credentials: Headers = no_headers) -> None:
        """`base_url` is that of the platform (`http://host:port`); the encoder's own prefix may follow.

        `credentials` are asked for at each call.
        """
        self._credentials = credentials
        self._url = base_url.rstrip("/").removesuffix(ENCODER_PREFIX) + ENCODER_PREFIX
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            trust_env=False,
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
            answer = await self._post("/encode", msgspec.json.encode(request), "application/json", {}, timeout_s)
            results.extend(self._read(answer, len(asked)))
        return results

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        """See the port."""
        parameters = {"timeout_s": repr(min(timeout_s, MAX_TIMEOUT_S))}
        if crop is not None:
            parameters["crop"] = ",".join(repr(float(value)) for value in crop)
        try:
            answer = await self._post("/encode-bytes", data, "application/octet-stream", parameters, timeout_s)
        except TooLarge as error:
            return EncodeFailure(error.code, str(error), transient=False)
        return self._read(answer, 1)[0]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(
        self, path: str, body: bytes, content_type: str, parameters: dict[str, str], timeout_s: float
    ) -> httpx.Response:
        try:
            response = await self._client.post(
                self._url + path,
                content=body,
                params=parameters,
                headers={"content-type": content_type, **self._credentials()},
                timeout=httpx.Timeout(timeout_s + _ANSWER_MARGIN_S, connect=min(timeout_s, 5.0)),
            )
        except httpx.TimeoutException as error:
            raise Unavailable(f"the image encoder at {self._url} did not answer in {timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise Unavailable(f"the image encoder at {self._url} cannot be reached: {error!r}") from error
        if response.status_code != 200:
            self._refuse(response)
        return response

    def _refuse(self, response: httpx.Response) -> NoReturn:
        status, detail = response.status_code, _detail(response)
        if status == 429:
            raise Overloaded(f"the image encoder is overloaded: {detail}", retry_after_s=_retry_after_s(response))
        if status == 413:
            raise TooLarge(detail)
        if status in (400, 415, 422):
            raise InvalidInput(f"the image encoder refused the request: {detail}")
        raise Unavailable(
            f"the image encoder at {self._url} answered {status}: {detail}", retry_after_s=_retry_after_s(response)
        )

    def _read(self, response: httpx.Response, expected: int) -> list[EncodedImage | EncodeFailure]:
        try:
            results = [from_wire(result) for result in _REPLY.decode(response.content).results]
        except (msgspec.MsgspecError, InvalidVector) as error:
            raise Unavailable(f"{self._url} does not answer like an image encoder: {error}") from error
        if len(results) != expected:
            raise Unavailable(f"the image encoder answered {len(results)} results for {expected} images")
        return results


class _Problem(Struct):
    detail: str = ""


def _detail(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Problem).detail[:500]
    except msgspec.MsgspecError:
        return response.text[:200]


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", "1")), 0.0), _MAX_RETRY_AFTER_S)
    except ValueError:
        return 1.0

"""Index entries: what `index.entries.v1` holds, and what every vector and text index is a view of.

A record's key is the item id; its value is an `IndexEntry` as JSON, or null (a tombstone: the item is gone). The order
of two records about one item is `Version`, not arrival; a tombstone carries its version in the headers.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.errors import InvalidEvent, InvalidVector

VERSION_HEADER = "riverlight-version"
#: On a record that says again what was true before: it tells nothing of how fast anything is.
AGAIN_HEADER = "riverlight-again"
_ENCODER = msgspec.json.Encoder()


class Version(Struct, frozen=True, order=True, gc=False):
    """When a state of an item became true. The greater version wins, whatever order they arrive in.

    `time_us` is the event time in microseconds since the epoch; `seq` breaks ties (the offset of the source record,
    which grows along one item's partition).
    """

    time_us: int
    seq: int

    @classmethod
    def of(cls, time: datetime, seq: int) -> "Version":
        return cls(time_us=int(time.timestamp() * 1_000_000), seq=seq)

    def header(self) -> bytes:
        return f"{self.time_us}:{self.seq}".encode()

    @classmethod
    def from_header(cls, value: bytes) -> "Version":
        """Read `header()` back. Raises InvalidEvent when it is not one."""
        try:
            time_us, seq = value.decode("ascii").split(":")
            return cls(time_us=int(time_us), seq=int(seq))
        except ValueError as error:
            raise InvalidEvent(f"not a version header: {value!r}") from error


class IndexEntry(Struct, kw_only=True, frozen=True, gc=False):
    """One item as the indexes see it: embedding, text, and what filters and re-ranking need."""

    item_id: str
    version: Version
    state: Literal["active", "hidden"] = "active"
    kind: Literal["image", "video"] = "image"
    media_id: str
    owner_id: str
    vector: bytes  # float32, little endian, L2-normalised
    model_version: str
    phash: str = ""  # 64-bit perceptual hash, 16 hex characters; empty when unknown
    title: str = ""
    description: str = ""
    tags: list[str] = []
    language: str = "und"
    category: str = ""
    visibility: Literal["public", "unlisted", "private"] = "public"
    blocked_regions: list[str] = []
    unsafe: bool = False  # a verdict took it out of search; it stays known, so that "why not" has an answer
    event_id: str  # the event that caused this state
    traceparent: str | None = None


_DECODER = msgspec.json.Decoder(IndexEntry)


def encode_entry(entry: IndexEntry) -> bytes:
    """Return the entry as a record value."""
    return _ENCODER.encode(entry)


def decode_entry(value: bytes) -> IndexEntry:
    """Read a record value back. Raises InvalidEvent when it is not an entry."""
    try:
        return _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"not an index entry: {error}") from error


def tombstone_headers(version: Version) -> Mapping[str, bytes]:
    """Return the headers of the null record that removes an item as of `version`."""
    return {VERSION_HEADER: version.header()}


def pack_vector(vector: NDArray[np.float32]) -> bytes:
    """Return a `(dim,)` float32 vector as little-endian bytes.

    Raises:
        InvalidVector: not one-dimensional, not finite, or of zero length (it has no direction).
    """
    check_vector(vector)
    return vector.astype("<f4").tobytes()


def unpack_vector(data: bytes) -> NDArray[np.float32]:
    """Return the `(dim,)` float32 vector behind `pack_vector`'s bytes. Raises InvalidVector as it does."""
    if len(data) % 4:
        raise InvalidVector(f"a packed float32 vector cannot be {len(data)} bytes long")
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    check_vector(vector)
    return vector


def check_vector(vector: NDArray[np.float32], dim: int | None = None) -> None:
    """Raise InvalidVector unless `vector` is `(dim,)`, finite and not zero."""
    if vector.ndim != 1 or vector.size == 0:
        raise InvalidVector(f"expected one vector, got an array of shape {vector.shape}")
    if dim is not None and vector.size != dim:
        raise InvalidVector(f"expected a vector of {dim} dimensions, got {vector.size}")
    if not np.isfinite(vector).all():
        raise InvalidVector("the vector holds a value that is not finite")
    if not np.any(vector):
        raise InvalidVector("the vector is zero and has no direction")

"""The Protocols that parts meet at. Each has one contract suite in `tests/contract/`, run over every adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version


@dataclass(frozen=True)
class OutgoingRecord:
    """A record to be written. A `value` of None is a tombstone; a `partition` of None lets the key decide."""

    topic: str
    key: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    partition: int | None = None


@dataclass(frozen=True)
class StoredRecord:
    """A record read back from the log, with its place."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: Mapping[str, bytes]
    timestamp_ms: int


class Publisher(Protocol):
    """Writes records to the log and knows whether they arrived."""

    async def publish(self, records: Sequence[OutgoingRecord], *, timeout_s: float = 10.0) -> None:
        """Return when the broker has acknowledged every record; records of one key keep their order.

        Raises:
            Unavailable: at least one record was not acknowledged in time. Any of them may still have arrived,
                so publishing again must be harmless (it is: ids and versions are decided before publishing).
            Overloaded: the bounded queue is full; nothing of this call was queued.
            TooLarge: a record is over the topic's size limit.
        """
        ...


class ObjectStore(Protocol):
    """Content-addressed bytes: the media id is the SHA-256 of what is stored under it."""

    async def put(self, data: bytes) -> str:
        """Store the bytes durably and return their media id. Storing the same bytes again changes nothing."""
        ...

    async def get(self, media_id: str) -> bytes:
        """Return the bytes, checked against their id.

        Raises MissingMedia (no such object), InvalidInput (not a media id), IntegrityError (bytes do not match).
        """
        ...

    async def exists(self, media_id: str) -> bool: ...

    async def delete(self, media_id: str) -> None:
        """Remove the bytes; removing what is not there is not an error."""
        ...


class ImageEncoder(Protocol):
    """Turns decoded images into points of the embedding space, in this process."""

    @property
    def dim(self) -> int: ...

    @property
    def version(self) -> str:
        """The model version every vector is labelled with, e.g. `visual-search/3f2a91c0`."""
        ...

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images, each `(H, W, 3)` RGB uint8, into `(n, dim)` float32 rows of length 1."""
        ...


class TextEncoder(Protocol):
    """Turns texts into points of one space, in this process. Texts of the same meaning are near, in any language."""

    @property
    def dim(self) -> int: ...

    @property
    def version(self) -> str:
        """The model version that vectors, and heads trained on them, are labelled with, e.g. `e5/3f2a91c0`.

        It changes with anything that changes a vector: weights, arithmetic, prefix, length limit.
        """
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into `(n, dim)` float32 rows of length 1, in the order given.

        Any `str` will do: empty, control characters, lone surrogates; what is over the encoder's length is not read.
        A text's row does not depend on its neighbours (but for rounding). May be called from several threads.
        """
        ...


@dataclass(frozen=True)
class EncodedImage:
    """What the embedding service says about one image, or about one video by some of its frames."""

    vector: NDArray[np.float32]  # (dim,), length 1; of a video the mean of its frames' vectors, of length 1 again
    phash: str  # 16 hex characters; of a video that of its middle frame
    width: int
    height: int
    model_version: str
    frame_phashes: tuple[str, ...] = ()  # of each frame looked at, in their order; an image is its own only frame
    nsfw: float | None = None  # the largest over the frames, in [0, 1]; None when nobody asked or nothing can tell

    def __post_init__(self) -> None:
        if not self.frame_phashes:
            object.__setattr__(self, "frame_phashes", (self.phash,))


@dataclass(frozen=True)
class EncodeFailure:
    """Why one image of a batch has no embedding. `transient` failures are worth repeating."""

    code: str
    message: str
    transient: bool


Crop = tuple[float, float, float, float]  # x, y, width, height, as fractions of the image in [0, 1]


class EmbeddingService(Protocol):
    """The embedding generation service: media by reference in, a result or an error for each out."""

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = 10.0,
        signals: bool = False,
    ) -> list[EncodedImage | EncodeFailure]:
        """Fetch, decode and embed each image or video; results come in the order asked.

        With `signals` what moderation needs is computed too (`EncodedImage.nsfw`), which costs as much again.

        Raises Unavailable (or Overloaded) only when the service as a whole did not answer.
        """
        ...

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        """Decode and embed one image that is not (and will not be) in the object store."""
        ...


@dataclass(frozen=True)
class Hit:
    """One neighbour: cosine similarity in [-1, 1] and the entry that was live when the search ran."""

    score: float
    entry: IndexEntry


@dataclass(frozen=True)
class SearchFilter:
    """What an answer must satisfy. None means "any"; `exclude_*` always apply."""

    owner_id: str | None = None
    category: str | None = None
    language: str | None = None
    kind: str | None = None
    tags_any: tuple[str, ...] = ()
    region: str | None = None  # the viewer's country: items that block it are left out
    exclude_item_ids: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    include_private_of: str | None = None  # also this owner's own private and unlisted items


class VectorIndex(Protocol):
    """A live nearest-neighbour index over `IndexEntry`s. Thread-safe; the newest version of an item wins."""

    @property
    def dim(self) -> int: ...

    def apply(self, entry: IndexEntry) -> bool:
        """Add or replace an item; False when what is there (or was removed) is newer or the same.

        Raises InvalidVector for a vector that cannot be indexed.
        """
        ...

    def remove(self, item_id: str, version: Version) -> bool:
        """Take an item out as of `version`, at once; False when what is there is newer."""
        ...

    def get(self, item_id: str) -> IndexEntry | None:
        """Return the current entry of an item, hidden ones included, or None."""
        ...

    def search(
        self, vector: NDArray[np.float32], k: int, where: SearchFilter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """Return up to `k` visible items by descending cosine similarity. `exact` scans everything.

        Hidden, unsafe, private and unlisted items are never returned (save `include_private_of`'s own).
        """
        ...

    def __len__(self) -> int:
        """The number of items that are there (hidden ones included)."""
        ...

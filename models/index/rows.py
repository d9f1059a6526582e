"""How the index keeps an entry: a compact blob per row, and numpy columns for what searches look at.

A million Python `IndexEntry`s would take gigabytes. In memory a row is its code in the search structure, 41 bytes of
columns, 12 bytes that lead from its id to it, and 4 bytes a label. Its vector and the rest of the entry (a MessagePack
array) are in a file and are only read for the few rows that are returned.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, check_vector

HIDDEN = 1
UNSAFE = 2
PRIVATE = 4  # private or unlisted: only its owner's own searches may show it
VIDEO = 8

# A float16 row of a unit vector has a length within 2**-11 of 1; the slack keeps such a row from being scaled again,
# so that an index rebuilt from another's entries holds the same bits.
_UNIT_SLACK = 1e-3


class _Id(Struct, array_like=True, frozen=True, gc=False):
    """The beginning of a row; decoding it skips the rest."""

    item_id: str


class _Row(Struct, array_like=True, frozen=True, gc=False):
    item_id: str
    time_us: int
    seq: int
    state: Literal["active", "hidden"]
    kind: Literal["image", "video"]
    media_id: str
    owner_id: str
    model_version: str
    phash: str
    title: str
    description: str
    tags: list[str]
    language: str
    category: str
    visibility: Literal["public", "unlisted", "private"]
    blocked_regions: list[str]
    unsafe: bool
    event_id: str
    traceparent: str | None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Row)
_ID_DECODER = msgspec.msgpack.Decoder(_Id)


def pack_row(entry: IndexEntry) -> bytes:
    """Return everything of an entry but its vector."""
    return _ENCODER.encode(
        _Row(
            item_id=entry.item_id,
            time_us=entry.version.time_us,
            seq=entry.version.seq,
            state=entry.state,
            kind=entry.kind,
            media_id=entry.media_id,
            owner_id=entry.owner_id,
            model_version=entry.model_version,
            phash=entry.phash,
            title=entry.title,
            description=entry.description,
            tags=entry.tags,
            language=entry.language,
            category=entry.category,
            visibility=entry.visibility,
            blocked_regions=entry.blocked_regions,
            unsafe=entry.unsafe,
            event_id=entry.event_id,
            traceparent=entry.traceparent,
        )
    )


def unpack_row(blob: bytes, vector: NDArray[np.float32]) -> IndexEntry:
    """Put a row back together with its `(dim,)` vector. Raises msgspec.MsgspecError for bytes that are not a row."""
    row = _DECODER.decode(blob)
    return IndexEntry(
        item_id=row.item_id,
        version=Version(time_us=row.time_us, seq=row.seq),
        state=row.state,
        kind=row.kind,
        media_id=row.media_id,
        owner_id=row.owner_id,
        vector=vector.astype("<f4").tobytes(),
        model_version=row.model_version,
        phash=row.phash,
        title=row.title,
        description=row.description,
        tags=row.tags,
        language=row.language,
        category=row.category,
        visibility=row.visibility,
        blocked_regions=row.blocked_regions,
        unsafe=row.unsafe,
        event_id=row.event_id,
        traceparent=row.traceparent,
    )


def item_id_of(blob: bytes) -> str:
    """Return the item id of a packed row."""
    return _ID_DECODER.decode(blob).item_id


def stored_vector(vector: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Return a `(dim,)` vector as the index keeps it: of length 1, each value rounded to float16.

    Raises:
        InvalidVector: wrong dimension, not finite, or zero.
    """
    check_vector(vector, dim)
    return unit(vector).astype(np.float16).astype(np.float32)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector scaled to length 1; one that is close enough already is left as it is."""
    wide = vector.astype(np.float64)
    wide /= np.abs(wide).max()  # squares of the largest and smallest float32 values stay in range
    length = float(np.linalg.norm(wide)) * float(np.abs(vector).max())
    if abs(length - 1.0) <= _UNIT_SLACK:
        return vector
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def code(text: str) -> int:
    """Return a 64-bit code of a string, for columns. Hits are checked against the strings themselves at the end."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def short_code(text: str) -> int:
    """Return half of `code`, for columns of few distinct values."""
    return code(text) & 0xFFFF_FFFF


def flags_of(entry: IndexEntry) -> int:
    """Return the bits that decide whether, and as what, an entry may be shown."""
    flags = 0
    if entry.state == "hidden":
        flags |= HIDDEN
    if entry.unsafe:
        flags |= UNSAFE
    if entry.visibility != "public":
        flags |= PRIVATE
    if entry.kind == "video":
        flags |= VIDEO
    return flags


@dataclass(frozen=True)
class Labels:
    """A many-valued column (tags, blocked regions): for each label's code, the rows that have it."""

    codes: NDArray[np.uint64]  # distinct, ascending
    starts: NDArray[np.int32]  # (len(codes) + 1,): where each label's rows begin in `rows`
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> "Labels":
        """Build the column from `(code, row)` pairs."""
        return cls._of(
            np.array([label for label, _ in pairs], dtype=np.uint64),
            np.array([row for _, row in pairs], dtype=np.int32),
        )

    @classmethod
    def join(cls, parts: Sequence[tuple["Labels", NDArray[np.int64], int]]) -> "Labels":
        """Return the labels of rows taken from several blocks and put one after the other.

        Each part is a block's labels, the rows taken from it (ascending) and how many rows the block has.
        """
        codes, rows, before = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int32)], 0
        for labels, taken, n_rows in parts:
            place = np.full(n_rows, -1, dtype=np.int32)
            place[taken] = np.arange(before, before + taken.size, dtype=np.int32)
            moved = place[labels.rows]
            kept = moved >= 0
            codes.append(np.repeat(labels.codes, np.diff(labels.starts))[kept])
            rows.append(moved[kept])
            before += taken.size
        return cls._of(np.concatenate(codes), np.concatenate(rows))

    @classmethod
    def _of(cls, codes: NDArray[np.uint64], rows: NDArray[np.int32]) -> "Labels":
        order = np.argsort(codes, kind="stable")
        distinct, first = np.unique(codes[order], return_index=True)
        return cls(distinct, np.append(first, codes.size).astype(np.int32), rows[order])

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.starts.nbytes + self.rows.nbytes

    def rows_with(self, wanted: Sequence[str], n_rows: int) -> NDArray[np.bool_]:
        """Return a mask `(n_rows,)` of the rows that have any of the wanted labels."""
        mask = np.zeros(n_rows, dtype=np.bool_)
        for label in wanted:
            at = int(np.searchsorted(self.codes, np.uint64(code(label))))
            if at < self.codes.size and self.codes[at] == np.uint64(code(label)):
                mask[self.rows[self.starts[at] : self.starts[at + 1]]] = True
        return mask


SCALAR_COLUMNS = {
    "time_us": np.int64,
    "seq": np.int64,
    "owner": np.uint64,
    "media": np.uint64,
    "category": np.uint32,  # there are few of these two: half a code tells them apart
    "language": np.uint32,
    "flags": np.uint8,
}
Columns = dict[str, NDArray]


def empty_columns(n_rows: int) -> Columns:
    return {name: np.zeros(n_rows, dtype=dtype) for name, dtype in SCALAR_COLUMNS.items()}


def write_columns(columns: Columns, row: int, entry: IndexEntry) -> None:
    """Fill one row of the columns from an entry."""
    columns["time_us"][row] = entry.version.time_us
    columns["seq"][row] = entry.version.seq
    columns["owner"][row] = code(entry.owner_id)
    columns["category"][row] = short_code(entry.category)
    columns["language"][row] = short_code(entry.language)
    columns["media"][row] = code(entry.media_id)
    columns["flags"][row] = flags_of(entry)

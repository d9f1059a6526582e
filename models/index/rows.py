"""How the index keeps an entry: a compact blob per row, and numpy columns for what searches look at.

A million Python `IndexEntry`s would take gigabytes. A row is the vector (in the segment), 57 bytes of columns, and the
rest of the entry as a MessagePack array that is only decoded for the few rows that are returned.
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


@dataclass
class Labels:
    """A many-valued column (tags, blocked regions): pairs of a label's code and the row that has it."""

    codes: NDArray[np.uint64]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> "Labels":
        """Build the column from `(code, row)` pairs."""
        return cls(
            np.array([label for label, _ in pairs], dtype=np.uint64),
            np.array([row for _, row in pairs], dtype=np.int32),
        )

    def rows_with(self, wanted: Sequence[str], n_rows: int) -> NDArray[np.bool_]:
        """Return a mask `(n_rows,)` of the rows that have any of the wanted labels."""
        mask = np.zeros(n_rows, dtype=np.bool_)
        for label in wanted:
            mask[self.rows[self.codes == np.uint64(code(label))]] = True
        return mask

    def take(self, rows: NDArray[np.int64], n_rows: int) -> "Labels":
        """Return the labels of the given rows, renumbered to their places in `rows`."""
        place = np.full(n_rows, -1, dtype=np.int32)
        place[rows] = np.arange(rows.size, dtype=np.int32)
        moved = place[self.rows]
        kept = moved >= 0
        return Labels(self.codes[kept], moved[kept])


def join_labels(parts: Sequence[tuple[Labels, int]]) -> Labels:
    """Concatenate labels of consecutive blocks of rows, each with its number of rows."""
    starts = np.cumsum([0] + [n_rows for _, n_rows in parts])[:-1]
    return Labels(
        np.concatenate([labels.codes for labels, _ in parts]),
        np.concatenate([labels.rows + np.int32(start) for (labels, _), start in zip(parts, starts, strict=True)]),
    )


SCALAR_COLUMNS = {
    "slot": np.int64,  # the order of writing over the whole index; an item's newest row has its greatest
    "time_us": np.int64,
    "seq": np.int64,
    "owner": np.uint64,
    "category": np.uint64,
    "language": np.uint64,
    "media": np.uint64,
    "flags": np.uint8,
}
Columns = dict[str, NDArray]


def empty_columns(n_rows: int) -> Columns:
    return {name: np.zeros(n_rows, dtype=dtype) for name, dtype in SCALAR_COLUMNS.items()}


def write_columns(columns: Columns, row: int, slot: int, entry: IndexEntry) -> None:
    """Fill one row of the columns from an entry."""
    columns["slot"][row] = slot
    columns["time_us"][row] = entry.version.time_us
    columns["seq"][row] = entry.version.seq
    columns["owner"][row] = code(entry.owner_id)
    columns["category"][row] = code(entry.category)
    columns["language"][row] = code(entry.language)
    columns["media"][row] = code(entry.media_id)
    columns["flags"][row] = flags_of(entry)

"""Segments: blocks of rows in the order they were written. One is being filled; the others never grow.

Each row is one state of one item and never changes once it can be seen. What does change, by the index's writer alone,
is one byte of `alive` (and one bit of `shown`) when a newer row replaces it. A search copies or reads those masks and
nothing else that moves, so it needs no lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version
from core.ports import SearchFilter
from core.settings import IndexSettings
from models.index.filters import row_mask, shown_mask
from models.index.rows import Columns, Labels, code, empty_columns, join_labels, pack_row, unpack_row, write_columns
from models.index.structures import (
    Bits,
    Cancelled,
    Store,
    Structure,
    build,
    half_store,
    half_view,
    never,
    scan_parameters,
)

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

# When a filter leaves this few rows, they are scored one by one: quicker, and certain, where a graph or a list would
# walk past most of what it meets and come back with too little.
_EXACT_ROWS = 4_096
_EXACT_SHARE = 0.1


@dataclass(frozen=True)
class RowBlock:
    """Rows taken out of segments, in slot order: what a merge, a snapshot and a load pass around."""

    vectors: NDArray[np.float16]  # (n, dim)
    columns: Columns
    tags: Labels
    regions: Labels
    blobs: list[bytes]

    def __len__(self) -> int:
        return len(self.blobs)


def join_blocks(blocks: Sequence[RowBlock]) -> RowBlock:
    """Concatenate blocks whose slots follow one another."""
    return RowBlock(
        vectors=np.concatenate([block.vectors for block in blocks]),
        columns={name: np.concatenate([block.columns[name] for block in blocks]) for name in blocks[0].columns},
        tags=join_labels([(block.tags, len(block)) for block in blocks]),
        regions=join_labels([(block.regions, len(block)) for block in blocks]),
        blobs=[blob for block in blocks for blob in block.blobs],
    )


class Segment(Protocol):
    """What the index needs of a block of rows."""

    columns: Columns
    alive: NDArray[np.bool_]

    @property
    def n_rows(self) -> int: ...

    def blob(self, row: int) -> bytes: ...

    def vector(self, row: int) -> NDArray[np.float32]: ...

    def kill(self, row: int) -> None:
        """Mark a row as replaced or removed. Only the writer calls this."""
        ...

    def search(
        self, query: NDArray[np.float32], want: int, where: SearchFilter | None, exact: bool
    ) -> tuple[Rows, Scores]:
        """Return up to `want` rows that may be shown, with their cosine similarities, best first."""
        ...

    def block(self, rows: Rows) -> RowBlock:
        """Copy rows out (ascending row numbers)."""
        ...

    def memory(self) -> int:
        """Return the bytes its rows take, structure included."""
        ...


def find_row(segment: Segment, slot: int) -> int | None:
    """Return the row of a slot, or None when the segment does not hold it."""
    slots = segment.columns["slot"][: segment.n_rows]
    row = int(np.searchsorted(slots, slot))
    return row if row < slots.size and slots[row] == slot else None


def entry_at(segment: Segment, row: int) -> IndexEntry:
    return unpack_row(segment.blob(row), segment.vector(row))


def version_at(segment: Segment, row: int) -> Version:
    return Version(time_us=int(segment.columns["time_us"][row]), seq=int(segment.columns["seq"][row]))


def best(rows: Rows, scores: Scores, want: int) -> tuple[Rows, Scores]:
    """Return the `want` best-scored rows, best first."""
    if rows.size > want:
        kept = np.argpartition(-scores, want - 1)[:want]
        rows, scores = rows[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


class FreshSegment:
    """The segment being filled: float32 rows, scanned exactly."""

    def __init__(self, capacity: int, dim: int) -> None:
        self.columns = empty_columns(capacity)
        self.alive = np.zeros(capacity, dtype=np.bool_)
        self._shown = np.zeros(capacity, dtype=np.bool_)
        self._vectors = np.zeros((capacity, dim), dtype=np.float32)
        self._blobs: list[bytes] = []
        self._tags: list[tuple[int, int]] = []
        self._regions: list[tuple[int, int]] = []

    @property
    def n_rows(self) -> int:
        return len(self._blobs)

    @property
    def full(self) -> bool:
        return len(self._blobs) == self.alive.size

    def append(self, slot: int, entry: IndexEntry, vector: NDArray[np.float32]) -> int:
        """Add a row and return its number. Only the writer calls this.

        The masks are set last: until then no search looks at the row, so it is never seen half written.
        """
        row = len(self._blobs)
        self._vectors[row] = vector
        write_columns(self.columns, row, slot, entry)
        self._tags.extend((code(tag), row) for tag in entry.tags)
        self._regions.extend((code(region), row) for region in entry.blocked_regions)
        self._blobs.append(pack_row(entry))
        self._shown[row] = shown_mask(self.columns["flags"][row : row + 1])[0]
        self.alive[row] = True
        return row

    def kill(self, row: int) -> None:
        self.alive[row] = False
        self._shown[row] = False

    def blob(self, row: int) -> bytes:
        return self._blobs[row]

    def vector(self, row: int) -> NDArray[np.float32]:
        return self._vectors[row]

    def search(
        self, query: NDArray[np.float32], want: int, where: SearchFilter | None, exact: bool
    ) -> tuple[Rows, Scores]:
        # The mask is copied in ascending order, and a newer row of an item is shown before the older one is killed:
        # so at least one of the two is in the copy, and an item never disappears while it is changed.
        if where is None:
            allowed = self._shown.copy()
        else:
            allowed = self.alive.copy()
            allowed &= row_mask(self.columns, Labels.of(list(self._tags)), Labels.of(list(self._regions)), where)
        rows = np.flatnonzero(allowed)
        if rows.size == 0:
            return rows, np.zeros(0, dtype=np.float32)
        if rows.size * 2 > self.n_rows:  # a product over everything beats gathering most of it
            scores = (self._vectors[: rows[-1] + 1] @ query)[rows]
        else:
            scores = self._vectors[rows] @ query
        return best(rows, scores, want)

    def block(self, rows: Rows) -> RowBlock:
        n_rows = self.alive.size
        return RowBlock(
            vectors=self._vectors[rows].astype(np.float16),
            columns={name: column[rows] for name, column in self.columns.items()},
            tags=Labels.of(list(self._tags)).take(rows, n_rows),
            regions=Labels.of(list(self._regions)).take(rows, n_rows),
            blobs=[self._blobs[row] for row in rows],
        )

    def memory(self) -> int:
        return (
            self._vectors.nbytes + sum(column.nbytes for column in self.columns.values()) + sum(map(len, self._blobs))
        )


class SealedSegment:
    """Rows that never grow: float16 vectors held once in FAISS memory, with or without a structure over them."""

    def __init__(
        self, block: RowBlock, settings: IndexSettings, *, structured: bool, cancelled: Cancelled = never
    ) -> None:
        n_rows = len(block)
        self.columns = block.columns
        self.alive = np.ones(n_rows, dtype=np.bool_)
        self._shown: Bits = np.packbits(shown_mask(block.columns["flags"]), bitorder="little")
        self._tags = block.tags
        self._regions = block.regions
        self._heap = b"".join(block.blobs)
        self._starts = np.cumsum([0, *map(len, block.blobs)]).astype(np.int64)
        store = half_store(block.vectors)
        self.structure: Structure | None = build(store, settings, cancelled) if structured else None
        # A graph holds the vectors itself; the segment then reads them there.
        self._store: Store = getattr(self.structure, "store", store)
        self._vectors = half_view(self._store)

    @property
    def n_rows(self) -> int:
        return self.alive.size

    def kill(self, row: int) -> None:
        self.alive[row] = False
        self._shown[row >> 3] &= ~(1 << (row & 7)) & 0xFF

    def blob(self, row: int) -> bytes:
        return self._heap[self._starts[row] : self._starts[row + 1]]

    def vector(self, row: int) -> NDArray[np.float32]:
        return self._vectors[row].astype(np.float32)

    def search(
        self, query: NDArray[np.float32], want: int, where: SearchFilter | None, exact: bool
    ) -> tuple[Rows, Scores]:
        if where is None:
            bits = self._shown
            n_allowed = int(np.bitwise_count(bits).sum())
        else:
            allowed = self.alive & row_mask(self.columns, self._tags, self._regions, where)
            bits = np.packbits(allowed, bitorder="little")
            n_allowed = int(allowed.sum())
        want = min(want, n_allowed)
        if want == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        few = n_allowed <= max(min(_EXACT_ROWS, self.n_rows // 2), int(_EXACT_SHARE * self.n_rows))
        if exact or few or self.structure is None:
            return self._scan(query, want, bits)
        rows = self.structure.candidates(query, want, bits if n_allowed < self.n_rows else None)
        if rows.size < want:  # the structure did not reach as many as there are
            return self._scan(query, want, bits)
        return best(rows, self._vectors[rows].astype(np.float32) @ query, want)

    def block(self, rows: Rows) -> RowBlock:
        return RowBlock(
            vectors=self._vectors[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            tags=self._tags.take(rows, self.n_rows),
            regions=self._regions.take(rows, self.n_rows),
            blobs=[self.blob(row) for row in rows],
        )

    def memory(self) -> int:
        labels = sum(part.codes.nbytes + part.rows.nbytes for part in (self._tags, self._regions))
        columns = sum(column.nbytes for column in self.columns.values())
        structure = self.structure.size_bytes() if self.structure is not None else 0
        masks = self.alive.nbytes + self._shown.nbytes
        return self._vectors.nbytes + columns + labels + masks + len(self._heap) + self._starts.nbytes + structure

    def _scan(self, query: NDArray[np.float32], want: int, bits: Bits) -> tuple[Rows, Scores]:
        scores, rows = self._store.search(query[None, :], want, params=scan_parameters(bits))
        found = rows[0] >= 0
        return rows[0][found].astype(np.int64), scores[0][found]

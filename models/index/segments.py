"""Segments: blocks of rows in the order they were written. One is being filled; the others never grow.

Each row is one state of one item and never changes once it can be seen. What does change, by the index's writer alone,
is one byte of `alive` (and one bit of `shown`) when a newer row replaces it. A search copies or reads those masks and
nothing else that moves, so it needs no lock.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version
from core.ports import SearchFilter
from models.index.filters import row_mask, shown_mask
from models.index.rows import Columns, Labels, code, empty_columns, pack_row, unpack_row, write_columns
from models.index.segment_files import CHUNK_ROWS, Chunk, Rows
from models.index.structures import Query, Scores

NOTHING: tuple[Rows, Scores] = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


class Segment(Protocol):
    """What the index needs of a block of rows."""

    columns: Columns
    alive: NDArray[np.bool_]

    @property
    def tags(self) -> Labels: ...

    @property
    def regions(self) -> Labels: ...

    @property
    def n_rows(self) -> int: ...

    def blobs(self, rows: Rows) -> list[bytes]:
        """Return the entries of some rows without their vectors, packed."""
        ...

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """Return the vectors of some rows, `(len(rows), dim)`."""
        ...

    def row_of(self, item_id: str) -> int | None:
        """Return the living row of an item, or None."""
        ...

    def kill(self, row: int) -> None:
        """Mark a row as replaced or removed. Only the writer calls this."""
        ...

    def search(self, query: Query, want: int, where: SearchFilter | None, exact: bool) -> tuple[Rows, Scores]:
        """Return rows that may be shown, at least `want` where there are, with about their cosine similarities."""
        ...

    def chunks(self, rows: Rows) -> Iterator[Chunk]:
        """Copy rows out (ascending row numbers), some thousand at a time."""
        ...

    def memory(self) -> int:
        """Return the bytes its rows take in memory, structure included."""
        ...


def entry_at(segment: Segment, row: int) -> IndexEntry:
    rows = np.array([row])
    return unpack_row(segment.blobs(rows)[0], segment.vectors(rows)[0])


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
    """The segment being filled: float32 rows in memory, scanned exactly."""

    def __init__(self, capacity: int, dim: int) -> None:
        self.columns = empty_columns(capacity)
        self.alive = np.zeros(capacity, dtype=np.bool_)
        self._shown = np.zeros(capacity, dtype=np.bool_)
        self._vectors = np.zeros((capacity, dim), dtype=np.float32)
        self._blobs: list[bytes] = []
        self._rows: dict[str, int] = {}
        self._tags: list[tuple[int, int]] = []
        self._regions: list[tuple[int, int]] = []

    @property
    def n_rows(self) -> int:
        return len(self._blobs)

    @property
    def full(self) -> bool:
        return len(self._blobs) == self.alive.size

    @property
    def tags(self) -> Labels:
        return Labels.of(list(self._tags))

    @property
    def regions(self) -> Labels:
        return Labels.of(list(self._regions))

    def append(self, entry: IndexEntry, vector: NDArray[np.float32]) -> int:
        """Add a row and return its number. Only the writer calls this.

        The masks are set last: until then no search looks at the row, so it is never seen half written.
        """
        row = len(self._blobs)
        self._vectors[row] = vector
        write_columns(self.columns, row, entry)
        self._tags.extend((code(tag), row) for tag in entry.tags)
        self._regions.extend((code(region), row) for region in entry.blocked_regions)
        self._blobs.append(pack_row(entry))
        self._shown[row] = shown_mask(self.columns["flags"][row : row + 1])[0]
        self.alive[row] = True
        self._rows[entry.item_id] = row
        return row

    def kill(self, row: int) -> None:
        self.alive[row] = False
        self._shown[row] = False

    def blobs(self, rows: Rows) -> list[bytes]:
        return [self._blobs[row] for row in rows.tolist()]

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        return self._vectors[rows]

    def row_of(self, item_id: str) -> int | None:
        row = self._rows.get(item_id)
        return row if row is not None and self.alive[row] else None

    def search(self, query: Query, want: int, where: SearchFilter | None, exact: bool) -> tuple[Rows, Scores]:
        # The mask is copied in ascending order, and a newer row of an item is shown before the older one is killed:
        # so at least one of the two is in the copy, and an item never disappears while it is changed.
        if where is None:
            allowed = self._shown.copy()
        else:
            allowed = self.alive.copy()
            allowed &= row_mask(self, where)
        rows = np.flatnonzero(allowed)
        if rows.size == 0:
            return NOTHING
        if rows.size * 2 > self.n_rows:  # a product over everything beats gathering most of it
            scores = (self._vectors[: rows[-1] + 1] @ query.vector)[rows]
        else:
            scores = self._vectors[rows] @ query.vector
        return best(rows, scores, want)

    def chunks(self, rows: Rows) -> Iterator[Chunk]:
        for start in range(0, rows.size, CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            blobs = [self._blobs[row] for row in part.tolist()]
            lengths = np.fromiter(map(len, blobs), dtype=np.int64, count=len(blobs))
            yield Chunk(self._vectors[part].astype(np.float16), lengths, b"".join(blobs))

    def memory(self) -> int:
        used = self.n_rows / self.alive.size  # memory that was never written to is not there
        columns = sum(column.nbytes for column in self.columns.values())
        return int(used * (self._vectors.nbytes + columns)) + sum(map(len, list(self._blobs)))

"""Segments: blocks of rows in the order they were written. One is being filled; the others never grow.

Each row is one state of one item and never changes once it can be seen. What does change, by the index's writer alone,
is one byte of `alive` (and one bit of `shown`) when a newer row replaces it. A search copies or reads those masks and
nothing else that moves, so it needs no lock.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version
from core.ports import SearchFilter
from core.settings import IndexSettings
from models.index.codebook import Codebook
from models.index.filters import row_mask, shown_mask
from models.index.rows import SCALAR_COLUMNS, Columns, Labels, code, empty_columns, item_id_of, pack_row, unpack_row
from models.index.rows import write_columns as write_row
from models.index.segment_files import CHUNK_ROWS, Chunk, Rows, SegmentFiles, open_files, write_rows
from models.index.structures import (
    Bits,
    Cancelled,
    Ivf,
    Query,
    Scores,
    Store,
    Structure,
    build,
    half_store,
    never,
    restore,
    scan_parameters,
)

# When a filter leaves this few rows, they are all looked at: quicker, and certain, where a graph or a list would walk
# past most of what it meets and come back with too little.
_EXACT_ROWS = 4_096
_EXACT_SHARE = 0.1
_SURPLUS = 16  # codes order roughly: so many more than wanted are taken from them, to be scored exactly

_NOTHING: tuple[Rows, Scores] = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


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

    def blob(self, row: int) -> bytes:
        """Return a row's entry without its vector, packed."""
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
    return unpack_row(segment.blob(row), segment.vectors(np.array([row]))[0])


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
        write_row(self.columns, row, entry)
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

    def blob(self, row: int) -> bytes:
        return self._blobs[row]

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
            allowed &= row_mask(self.columns, self.tags, self.regions, where)
        rows = np.flatnonzero(allowed)
        if rows.size == 0:
            return _NOTHING
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


class SealedSegment:
    """Rows that never grow: codes in a structure, or float16 vectors where there is none; the rest in files."""

    def __init__(
        self, files: SegmentFiles, arrays: Mapping[str, NDArray[Any]], structure: Structure | None, *, in_memory: bool
    ) -> None:
        """Instances come from `seal` and `reopen`. `in_memory`: keep the vectors there when no structure has codes."""
        n_rows = files.n_rows
        self.files = files
        self.structure = structure
        self.columns: Columns = {name: arrays[name] for name in SCALAR_COLUMNS}
        self.alive = np.ones(n_rows, dtype=np.bool_)
        self.tags = Labels(arrays["tag_codes"], arrays["tag_starts"], arrays["tag_rows"])
        self.regions = Labels(arrays["region_codes"], arrays["region_starts"], arrays["region_rows"])
        self._shown: Bits = np.packbits(shown_mask(self.columns["flags"]), bitorder="little")
        self._ids, self._id_rows = arrays["ids"], arrays["id_rows"]
        self._store: Store | None = half_store(files) if structure is None and in_memory else None

    @property
    def n_rows(self) -> int:
        return self.alive.size

    def kill(self, row: int) -> None:
        self.alive[row] = False
        self._shown[row >> 3] &= ~(1 << (row & 7)) & 0xFF

    def kill_all(self, rows: Rows) -> None:
        """Mark rows as gone; only before anyone else can see the segment."""
        self.alive[rows] = False
        shown = self.alive & shown_mask(self.columns["flags"])
        self._shown = np.packbits(shown, bitorder="little")

    def blob(self, row: int) -> bytes:
        return self.files.entry(row)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        return self.files.vectors(rows).astype(np.float32)

    def row_of(self, item_id: str) -> int | None:
        wanted = np.uint64(code(item_id))
        at = int(np.searchsorted(self._ids, wanted))
        while at < self._ids.size and self._ids[at] == wanted:
            row = int(self._id_rows[at])
            if self.alive[row] and item_id_of(self.blob(row)) == item_id:
                return row
            at += 1
        return None

    def search(self, query: Query, want: int, where: SearchFilter | None, exact: bool) -> tuple[Rows, Scores]:
        if where is None:
            bits = self._shown
            n_allowed = int(np.bitwise_count(bits).sum())
        else:
            allowed = self.alive & row_mask(self.columns, self.tags, self.regions, where)
            bits = np.packbits(allowed, bitorder="little")
            n_allowed = int(allowed.sum())
        want = min(want, n_allowed)
        if want == 0:
            return _NOTHING
        if exact or self.structure is None:
            return self._scan(query, want, bits)
        few = n_allowed <= max(min(_EXACT_ROWS, self.n_rows // 2), int(_EXACT_SHARE * self.n_rows))
        if few:
            found = self.structure.scan(query, min(n_allowed, want + want // 4 + _SURPLUS), bits)
            if found is None:
                return self._scan(query, want, bits)
        else:
            found = self.structure.candidates(
                query, min(n_allowed, want + want // 4 + _SURPLUS), bits if n_allowed < self.n_rows else None
            )
        rows, scores = found
        if rows.size < want:  # the structure did not reach as many as there are
            return self._scan(query, want, bits)
        if scores is None:
            return best(rows, self.vectors(rows) @ query.vector, want)
        return rows, scores

    def chunks(self, rows: Rows) -> Iterator[Chunk]:
        return self.files.chunks(rows)

    def memory(self) -> int:
        arrays = [*self.columns.values(), self.alive, self._shown, self._ids, self._id_rows, self.files.starts]
        vectors = self._store.ntotal * self._store.d * 2 if self._store is not None else 0
        structure = self.structure.size_bytes() if self.structure is not None else 0
        return sum(array.nbytes for array in arrays) + self.tags.nbytes + self.regions.nbytes + vectors + structure

    def _scan(self, query: Query, want: int, bits: Bits) -> tuple[Rows, Scores]:
        """Score every allowed row exactly: in memory when the vectors are there, else from their file."""
        if self._store is not None:
            scores, rows = self._store.search(query.vector[None, :], want, params=scan_parameters(bits))
            found = rows[0] >= 0
            return rows[0][found].astype(np.int64), scores[0][found]
        allowed = np.flatnonzero(np.unpackbits(bits, count=self.n_rows, bitorder="little"))
        if allowed.size <= CHUNK_ROWS:
            return best(allowed, self.vectors(allowed) @ query.vector, want)
        kept: tuple[Rows, Scores] = _NOTHING
        for start in range(0, self.n_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, self.n_rows)
            rows = allowed[np.searchsorted(allowed, start) : np.searchsorted(allowed, stop)]
            scores = (self.files.vectors_between(start, stop).astype(np.float32) @ query.vector)[rows - start]
            kept = best(np.concatenate([kept[0], rows]), np.concatenate([kept[1], scores]), want)
        return kept


def seal(
    parts: Sequence[tuple[Segment, Rows]],
    folder: Path,
    name: str,
    dim: int,
    settings: IndexSettings,
    *,
    structured: bool,
    codebook: Codebook | None = None,
    in_memory: bool = True,
    keep_files: bool = False,
    cancelled: Cancelled = never,
) -> SealedSegment:
    """Write rows of other segments, oldest first, as one segment in `folder`, and build its structure.

    Raises:
        BuildCancelled: `cancelled` turned true.
        OSError: the files cannot be written.
    """
    chunks = (chunk for segment, rows in parts for chunk in segment.chunks(rows))
    files = write_rows(folder, name, dim, chunks, keep=keep_files)
    structure = None
    if structured:
        structure = build(files, settings, codebook, _known_lists(parts, codebook), cancelled)
    arrays = _arrays(parts, files)
    files.save_arrays(
        arrays | {"starts": files.starts.astype(np.int64)} | (structure.arrays() if structure is not None else {})
    )
    return SealedSegment(files, arrays, structure, in_memory=in_memory)


def reopen(
    folder: Path,
    name: str,
    dim: int,
    hashes: Mapping[str, str],
    settings: IndexSettings,
    codebook: Codebook | None,
    *,
    structured: bool,
) -> SealedSegment:
    """Open a segment whose files are in `folder`; its structure is restored when it was of the kind that is wanted."""
    files, arrays = open_files(folder, name, dim, hashes)
    structure = restore(files, settings, codebook, arrays) if structured else None
    return SealedSegment(files, arrays, structure, in_memory=True)


def _arrays(parts: Sequence[tuple[Segment, Rows]], files: SegmentFiles) -> dict[str, NDArray[Any]]:
    columns = {
        name: np.concatenate([segment.columns[name][rows] for segment, rows in parts]) for name in SCALAR_COLUMNS
    }
    tags = Labels.join([(segment.tags, rows, segment.alive.size) for segment, rows in parts])
    regions = Labels.join([(segment.regions, rows, segment.alive.size) for segment, rows in parts])
    ids = np.concatenate([_ids_of(segment, rows) for segment, rows in parts])
    order = np.argsort(ids, kind="stable")
    return columns | {
        "tag_codes": tags.codes,
        "tag_starts": tags.starts,
        "tag_rows": tags.rows,
        "region_codes": regions.codes,
        "region_starts": regions.starts,
        "region_rows": regions.rows,
        "ids": ids[order],
        "id_rows": order.astype(np.int32),
    }


def _ids_of(segment: Segment, rows: Rows) -> NDArray[np.uint64]:
    if isinstance(segment, SealedSegment):
        by_row = np.empty(segment.n_rows, dtype=np.uint64)
        by_row[segment._id_rows] = segment._ids
        return by_row[rows]
    return np.array([code(item_id_of(segment.blob(row))) for row in rows.tolist()], dtype=np.uint64)


def _known_lists(parts: Sequence[tuple[Segment, Rows]], codebook: Codebook | None) -> NDArray[np.int32]:
    known = []
    for segment, rows in parts:
        structure = segment.structure if isinstance(segment, SealedSegment) else None
        if isinstance(structure, Ivf) and codebook is not None and structure.codebook.id == codebook.id:
            known.append(structure.lists[rows].astype(np.int32))
        else:
            known.append(np.full(rows.size, -1, dtype=np.int32))
    return np.concatenate(known)

"""Sealed segments: rows that never grow, with codes in memory and everything else in files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.ports import SearchFilter
from core.settings import IndexSettings
from models.index.codebook import Codebook
from models.index.filters import row_mask, shown_mask
from models.index.rows import SCALAR_COLUMNS, Columns, Labels, code, item_id_of
from models.index.segment_files import CHUNK_ROWS, Chunk, Rows, SegmentFiles, open_files, write_rows
from models.index.segments import NOTHING, Segment, best
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

    def blobs(self, rows: Rows) -> list[bytes]:
        return self.files.entries(rows)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        return self.files.vectors(rows).astype(np.float32)

    def row_of(self, item_id: str) -> int | None:
        wanted = np.uint64(code(item_id))
        at = int(np.searchsorted(self._ids, wanted))
        while at < self._ids.size and self._ids[at] == wanted:
            row = int(self._id_rows[at])
            if self.alive[row] and item_id_of(self.blobs(np.array([row]))[0]) == item_id:
                return row
            at += 1
        return None

    def search(self, query: Query, want: int, where: SearchFilter | None, exact: bool) -> tuple[Rows, Scores]:
        if where is None:
            bits = self._shown
            n_allowed = int(np.bitwise_count(bits).sum())
        else:
            allowed = self.alive & row_mask(self, where)
            bits = np.packbits(allowed, bitorder="little")
            n_allowed = int(allowed.sum())
        want = min(want, n_allowed)
        if want == 0:
            return NOTHING
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
        kept: tuple[Rows, Scores] = NOTHING
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
    return np.array([code(item_id_of(blob)) for blob in segment.blobs(rows)], dtype=np.uint64)


def _known_lists(parts: Sequence[tuple[Segment, Rows]], codebook: Codebook | None) -> NDArray[np.int32]:
    known = []
    for segment, rows in parts:
        structure = segment.structure if isinstance(segment, SealedSegment) else None
        if isinstance(structure, Ivf) and codebook is not None and structure.codebook.id == codebook.id:
            known.append(structure.lists[rows].astype(np.int32))
        else:
            known.append(np.full(rows.size, -1, dtype=np.int32))
    return np.concatenate(known)

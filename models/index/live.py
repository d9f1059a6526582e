"""The live vector index: searched without locks while it is written to.

A log-structured design. Writes append rows to a small segment that searches scan exactly; a background thread, the only
one that builds FAISS structures, seals full segments, merges small ones and rewrites those with many dead rows.
Searches read an immutable tuple of segments, oldest first.

Why no search misses an item that is being changed: the newer row is shown before the older one is killed, newer rows
are always in later segments (or later in the same one), and a search looks at segments oldest first. A search that
finds at its end that the tuple was replaced meanwhile runs again. A search may see both rows; it keeps the newer.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, check_vector, unpack_vector
from core.errors import InvalidInput, InvalidVector
from core.ports import Hit, SearchFilter
from core.settings import IndexSettings
from models.index.capture import Capture
from models.index.filters import allows
from models.index.maintenance import Maintenance
from models.index.rows import HIDDEN, code, stored_vector, unit
from models.index.segments import FreshSegment, SealedSegment, Segment, entry_at, find_row, version_at
from models.index.snapshot_files import SnapshotLabel, write_snapshot
from models.index.tombstones import Tombstones
from models.index.verify import IndexDifference, differences, state_hash

FRESH_ROWS = 4_096

_ANYTHING_VISIBLE = SearchFilter()
_SPARE = 8  # fetched beyond k, for rows that turn out to be two states of one item
_ATTEMPTS = 3


@dataclass(frozen=True)
class IndexStats:
    """What the index holds, and how."""

    kind: str
    dim: int
    model_version: str
    items: int
    hidden: int
    tombstones: int
    tombstones_forgotten: int
    segments: int
    rows: int  # dead ones included
    structured_rows: int  # rows that a structure covers; the rest are scanned exactly
    bytes_per_vector: float
    rebuilds: int
    last_rebuild_error: str | None


class LiveIndex:
    """Implements `core.ports.VectorIndex` over segments. Use `close()` to stop its background thread."""

    def __init__(
        self,
        dim: int,
        model_version: str,
        settings: IndexSettings,
        *,
        fresh_rows: int = FRESH_ROWS,
    ) -> None:
        self._dim = dim
        self._model_version = model_version
        self._settings = settings
        self._fresh_rows = fresh_rows
        self._write = threading.RLock()
        self._fresh = FreshSegment(fresh_rows, dim)
        self._view: tuple[Segment, ...] = (self._fresh,)
        self._slots: dict[str, int] = {}
        self._next_slot = 0
        self._tombstones = Tombstones(settings.tombstones_kept)
        self._thread = threading.local()
        self._maintenance = Maintenance(self, settings)
        self._maintenance.start()

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def model_version(self) -> str:
        return self._model_version

    @property
    def settings(self) -> IndexSettings:
        return self._settings

    def __len__(self) -> int:
        return len(self._slots)

    def apply(self, entry: IndexEntry) -> bool:
        """Add or replace an item; False when what is there (or was removed) is newer or the same.

        Once it returns, every search that starts sees the new state and none sees the old.

        Raises:
            InvalidVector: wrong dimension, not finite, zero, or made by another model than this index's.
        """
        if entry.model_version != self._model_version:
            raise InvalidVector(
                f"item {entry.item_id!r} was embedded by {entry.model_version!r}; this index holds vectors of "
                f"{self._model_version!r}: embed it again (riverlight index rebuild)"
            )
        vector = stored_vector(unpack_vector(entry.vector), self._dim)
        with self._write:
            current = self.version(entry.item_id)
            if current is not None and entry.version <= current:
                return False
            if self._fresh.full:
                self._fresh = FreshSegment(self._fresh_rows, self._dim)
                self._view = (*self._view, self._fresh)
                self._maintenance.wake()
            slot = self._next_slot
            self._next_slot += 1
            previous = self._slots.get(entry.item_id)
            self._fresh.append(slot, entry, vector)
            self._slots[entry.item_id] = slot
            self._tombstones.forget(entry.item_id)
            if previous is not None:
                self._kill(previous)
            return True

    def remove(self, item_id: str, version: Version) -> bool:
        """Take an item out as of `version`, at once; False when what is there is newer.

        The removal is remembered even for an item that is not there, so that an older entry that arrives late stays
        out. False too when this very removal is known already.
        """
        with self._write:
            current = self.version(item_id)
            slot = self._slots.get(item_id)
            if current is not None and (version < current or (version == current and slot is None)):
                return False
            self._tombstones.remember(item_id, version)
            if slot is not None:
                del self._slots[item_id]
                self._kill(slot)
            return True

    def version(self, item_id: str) -> Version | None:
        """Return the version of an item's state, or of its removal while that is remembered."""
        place = self._place(item_id)
        if place is not None:
            return version_at(*place)
        return self._tombstones.version(item_id)

    def get(self, item_id: str) -> IndexEntry | None:
        """Return the current entry of an item, hidden ones included, or None."""
        place = self._place(item_id)
        return entry_at(*place) if place is not None else None

    def by_media(self, media_id: str) -> IndexEntry | None:
        """Return an item that shows a media object (the newest visible one, else the newest), or None."""
        for _ in range(_ATTEMPTS):
            view = self._view
            found = _by_media(view, media_id)
            if self._view is view:
                return found
        with self._write:
            return _by_media(self._view, media_id)

    def search(
        self, vector: NDArray[np.float32], k: int, where: SearchFilter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """Return up to `k` visible items by descending cosine similarity. `exact` scans everything.

        Hidden, unsafe, private and unlisted items are never returned (save `include_private_of`'s own).

        Raises:
            InvalidVector: wrong dimension, not finite, or zero.
            InvalidInput: `k` is less than 1.
        """
        if k < 1:
            raise InvalidInput(f"k must be at least 1, got {k}")
        check_vector(vector, self._dim)
        query = np.ascontiguousarray(unit(vector), dtype=np.float32)
        self.use_one_thread()
        for _ in range(_ATTEMPTS):
            view = self._view
            hits = self._search(view, query, k, where, exact)
            if self._view is view:
                return hits
        with self._write:
            return self._search(self._view, query, k, where, exact)

    def stats(self) -> IndexStats:
        """Return counts and sizes; takes time proportional to the number of rows."""
        with self._write:
            view, items, tombstones = self._view, len(self._slots), len(self._tombstones)
            forgotten = self._tombstones.forgotten
        sealed = [segment for segment in view if isinstance(segment, SealedSegment)]
        rows = sum(segment.n_rows for segment in view)
        hidden = sum(
            int(np.count_nonzero(segment.alive[:n] & ((segment.columns["flags"][:n] & HIDDEN) != 0)))
            for segment in view
            for n in (segment.n_rows,)
        )
        memory = sum(segment.memory() for segment in view)
        return IndexStats(
            kind=self._settings.kind,
            dim=self._dim,
            model_version=self._model_version,
            items=items,
            hidden=hidden,
            tombstones=tombstones,
            tombstones_forgotten=forgotten,
            segments=len(view),
            rows=rows,
            structured_rows=sum(segment.n_rows for segment in sealed if segment.structure is not None),
            bytes_per_vector=memory / max(1, rows),
            rebuilds=self._maintenance.rebuilds,
            last_rebuild_error=self._maintenance.last_error,
        )

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Wait until the background thread has nothing left to do; False when it still has after `timeout_s`."""
        return self._maintenance.settle(timeout_s)

    def close(self) -> None:
        """Stop the background thread. Searching and writing still work, on the structures there are."""
        self._maintenance.stop()

    def use_one_thread(self) -> None:
        """Keep FAISS on the calling thread: its OpenMP setting counts per thread, so each caller needs it once."""
        if not getattr(self._thread, "ready", False):
            faiss.omp_set_num_threads(1)
            self._thread.ready = True

    def state_hash(self) -> str:
        """Return a hash over every item's id, version, vector and state, whatever their order and structure."""
        return state_hash(self.capture())

    def differences(self, reference: "LiveIndex") -> IndexDifference:
        """Return how this index differs from `reference`, for example one just rebuilt from the topic."""
        return differences(self.capture(), reference.capture())

    def save_snapshot(self, folder: Path, *, positions: Mapping[int, int], epoch: str) -> Path:
        """Write the index as the next `v<N>` in `folder` and return its path; writes and searches go on meanwhile.

        Args:
            positions: per partition the next offset to read. Every record below it must have been applied by now;
                later ones may have been too, because applying a record twice changes nothing.
            epoch: the incarnation of the topic that the positions belong to.
        """
        label = SnapshotLabel(self._dim, self._model_version, dict(positions), epoch)
        return write_snapshot(self.capture(), label, folder, keep=self._settings.snapshots_kept)

    def capture(self) -> Capture:
        """Return a consistent picture of what is there now; rows in it never change, so reading it needs no lock."""
        with self._write:
            return Capture(
                view=self._view,
                slots=np.sort(np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots))),
                tombstones=self._tombstones.copy(),
            )

    def replace_segments(self, old: tuple[Segment, ...], new: SealedSegment | None) -> None:
        """Put one segment where a run of them was. Only the maintenance thread calls this."""
        with self._write:
            if new is not None:
                survivors = np.concatenate(
                    [segment.columns["slot"][: segment.n_rows][segment.alive[: segment.n_rows]] for segment in old]
                )
                for row in np.flatnonzero(~np.isin(new.columns["slot"], survivors)):
                    new.kill(int(row))  # it died while the new segment was built
            at = self._view.index(old[0])
            self._view = (*self._view[:at], *((new,) if new is not None else ()), *self._view[at + len(old) :])

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments, oldest first; the last is the one being filled."""
        return self._view

    def adopt(self, sealed: list[SealedSegment], item_ids: list[str], tombstones: Mapping[str, Version]) -> None:
        """Take over loaded rows (slots ascending) and tombstones. Only for an index never written to."""
        with self._write:
            if self._next_slot or self._view != (self._fresh,):
                raise ValueError("only an empty index can take over a snapshot")
            slots = [slot for segment in sealed for slot in segment.columns["slot"].tolist()]
            self._slots = dict(zip(item_ids, slots, strict=True))
            self._next_slot = slots[-1] + 1 if slots else 0
            for item_id, version in tombstones.items():
                self._tombstones.remember(item_id, version)
            self._view = (*sealed, self._fresh)
        self._maintenance.wake()

    def _kill(self, slot: int) -> None:
        for segment in reversed(self._view):
            row = find_row(segment, slot)
            if row is not None:
                segment.kill(row)
                return

    def _place(self, item_id: str) -> tuple[Segment, int] | None:
        for _ in range(_ATTEMPTS):
            slot = self._slots.get(item_id)
            if slot is None:
                return None
            for segment in reversed(self._view):
                row = find_row(segment, slot)
                if row is not None:
                    return segment, row
        with self._write:  # the item was rewritten between each look; hold still
            slot = self._slots.get(item_id)
            for segment in self._view:
                row = find_row(segment, slot) if slot is not None else None
                if row is not None:
                    return segment, row
        return None

    def _search(
        self, view: tuple[Segment, ...], query: NDArray[np.float32], k: int, where: SearchFilter | None, exact: bool
    ) -> list[Hit]:
        excluded = len(where.exclude_item_ids) if where is not None else 0
        want = k + excluded + _SPARE
        found: list[tuple[float, int, Segment, int]] = []  # score, slot, segment, row
        for segment in view:
            rows, scores = segment.search(query, want, where, exact)
            slots = segment.columns["slot"][rows]
            found.extend(
                (float(score), int(slot), segment, int(row))
                for score, slot, row in zip(scores, slots, rows, strict=True)
            )
        found.sort(key=lambda item: (-item[0], -item[1]))
        check = where if where is not None else _ANYTHING_VISIBLE
        hits: dict[str, tuple[int, Hit]] = {}
        for score, slot, segment, row in found:
            if len(hits) >= k:
                break
            entry = entry_at(segment, row)
            known = hits.get(entry.item_id)
            if known is not None and known[0] > slot:
                continue
            if allows(entry, check):
                hits[entry.item_id] = (slot, Hit(score=min(1.0, max(-1.0, score)), entry=entry))
        answer = [hit for _, hit in hits.values()]
        answer.sort(key=lambda hit: (-hit.score, hit.entry.item_id))
        return answer


def _by_media(view: tuple[Segment, ...], media_id: str) -> IndexEntry | None:
    wanted = np.uint64(code(media_id))
    visible: IndexEntry | None = None
    other: IndexEntry | None = None
    for segment in view:
        for row in np.flatnonzero(segment.alive.copy() & (segment.columns["media"] == wanted)):
            entry = entry_at(segment, int(row))
            if entry.media_id == media_id and allows(entry, _ANYTHING_VISIBLE):
                visible = entry
            elif entry.media_id == media_id:
                other = entry
    return visible or other

"""The live vector index: searched without locks while it is written to.

A log-structured design. Writes append rows to a small segment in memory that searches scan exactly; a background
thread, the only one that trains and builds FAISS structures, seals full segments into files with codes in memory,
merges small ones and rewrites those with many dead rows. Searches read an immutable tuple of segments, oldest first,
and score the best candidates of all of them exactly.

Why no search misses an item that is being changed: the newer row is shown before the older one is killed, newer rows
are always in later segments (or later in the same one), and a search looks at segments oldest first. A search that
finds at its end that the tuple was replaced meanwhile runs again. A search may see both rows; it keeps the newer.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
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
from models.index.codebook import Codebook
from models.index.maintenance import Maintenance
from models.index.rows import HIDDEN, stored_vector, unit
from models.index.sealed import SealedSegment
from models.index.search import find_by_media, search_segments
from models.index.segment_files import Rows
from models.index.segment_folder import SegmentFolder
from models.index.segments import FreshSegment, Segment, entry_at, version_at
from models.index.snapshot_files import SnapshotLabel, write_snapshot
from models.index.tombstones import Tombstones
from models.index.verify import Fingerprint, IndexDifference, fingerprint

FRESH_ROWS = 4_096

_ATTEMPTS = 3
_WAITING_SEGMENTS = 4
_LONGEST_WAIT_S = 1.0


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
    bytes_per_vector: float  # in memory, everything included
    disk_bytes: int  # vectors and entries of sealed segments
    probe: int | None  # lists searched of each `ivf_*` segment at most; None where there are none
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
        folder: Path | None = None,
        in_memory: bool = True,
    ) -> None:
        """`folder` is where sealed segments live (on a disk, not in memory); a temporary one when left out.

        `in_memory=False` keeps not even codes in memory: for an index that is compared rather than searched.
        """
        self._dim = dim
        self._model_version = model_version
        self._settings = settings
        self._fresh_rows = fresh_rows
        self._write = threading.RLock()
        self._fresh = FreshSegment(fresh_rows, dim)
        self._view: tuple[Segment, ...] = (self._fresh,)
        self._items = 0
        self._changes = 0
        self._folder = SegmentFolder(folder)
        self._in_memory = in_memory
        self._codebook: Codebook | None = None
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
        return self._items

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
        self._let_the_background_catch_up()
        with self._write:
            place = self._place(entry.item_id)
            current = version_at(*place) if place is not None else self._tombstones.version(entry.item_id)
            if current is not None and entry.version <= current:
                return False
            if self._fresh.full:
                self._fresh = FreshSegment(self._fresh_rows, self._dim)
                self._view = (*self._view, self._fresh)
                self._maintenance.wake()
            self._fresh.append(entry, vector)
            self._tombstones.forget(entry.item_id)
            if place is not None:
                place[0].kill(place[1])
            else:
                self._items += 1
            self._changes += 1
            return True

    def remove(self, item_id: str, version: Version) -> bool:
        """Take an item out as of `version`, at once; False when what is there is newer.

        The removal is remembered even for an item that is not there, so that an older entry that arrives late stays
        out. False too when this very removal is known already.
        """
        with self._write:
            place = self._place(item_id)
            current = version_at(*place) if place is not None else self._tombstones.version(item_id)
            if current is not None and (version < current or (version == current and place is None)):
                return False
            self._tombstones.remember(item_id, version)
            if place is not None:
                self._items -= 1
                place[0].kill(place[1])
            self._changes += 1
            return True

    @property
    def changes(self) -> int:
        """How many writes took effect. While it stays the same, what a search found is what is there.

        It is counted after the write can be seen and before the call that wrote returns.
        """
        return self._changes

    def get(self, item_id: str) -> IndexEntry | None:
        """Return the current entry of an item, hidden ones included, or None."""
        place = self._place(item_id)
        if place is None:  # or it was rewritten between the look at one segment and the next; hold still
            with self._write:
                place = self._place(item_id)
        return entry_at(*place) if place is not None else None

    def by_media(self, media_id: str, refused: Callable[[IndexEntry], bool] = lambda entry: False) -> IndexEntry | None:
        """Return an item that shows a media object, or None.

        The newest one that may be shown; else the newest of those that `refused` withholds; else the newest.
        """
        for _ in range(_ATTEMPTS):
            view = self._view
            found = find_by_media(view, media_id, refused)
            if self._view is view:
                return found
        with self._write:
            return find_by_media(self._view, media_id, refused)

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
            hits = search_segments(view, query, k, where, exact=exact)
            if self._view is view:
                return hits
        with self._write:
            return search_segments(self._view, query, k, where, exact=exact)

    def stats(self) -> IndexStats:
        """Return counts and sizes; takes time proportional to the number of rows."""
        with self._write:
            view, items, tombstones = self._view, self._items, len(self._tombstones)
            forgotten = self._tombstones.forgotten
        sealed = [segment for segment in view if isinstance(segment, SealedSegment)]
        rows = sum(segment.n_rows for segment in view)
        hidden = sum(
            int(np.count_nonzero(segment.alive[:n] & ((segment.columns["flags"][:n] & HIDDEN) != 0)))
            for segment in view
            for n in (segment.n_rows,)
        )
        codebook = self._codebook
        memory = sum(segment.memory() for segment in view) + (codebook.size_bytes() if codebook is not None else 0)
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
            disk_bytes=sum(segment.files.size_bytes() for segment in sealed),
            probe=codebook.probe if codebook is not None else None,
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
        return self.fingerprint().state_hash

    def fingerprint(self) -> Fingerprint:
        """Return the state as hashes, item by item, to compare with another index's. Reads every row once."""
        return fingerprint(self.capture())

    def differences(self, reference: "LiveIndex") -> IndexDifference:
        """Return how this index differs from `reference`, for example one just rebuilt from the topic."""
        return self.fingerprint().differences(reference.fingerprint())

    def save_snapshot(self, folder: Path, *, positions: Mapping[int, int], epoch: str) -> Path:
        """Write the index as the next `v<N>` in `folder` and return its path; writes and searches go on meanwhile.

        Args:
            positions: per partition the next offset to read. Every record below it must have been applied by now;
                later ones may have been too, because applying a record twice changes nothing.
            epoch: the incarnation of the topic that the positions belong to.
        """
        label = SnapshotLabel(self._dim, self._model_version, dict(positions), epoch, self._settings.kind)
        return write_snapshot(self.capture(), self._codebook, label, folder, keep=self._settings.snapshots_kept)

    def capture(self) -> Capture:
        """Return a consistent picture of what is there now; rows in it never change, so reading it needs no lock."""
        with self._write:
            return Capture(
                parts=tuple((segment, np.flatnonzero(segment.alive)) for segment in self._view),
                tombstones=self._tombstones.copy(),
            )

    def replace_segments(self, old: Sequence[tuple[Segment, Rows]], new: SealedSegment | None) -> None:
        """Put one segment, made of the given rows, where a run of segments was. Only the maintenance calls this."""
        with self._write:
            if new is not None:
                alive = np.concatenate([segment.alive[rows] for segment, rows in old])
                new.kill_all(np.flatnonzero(~alive))  # they died while the new segment was built
            at = self._view.index(old[0][0])
            self._view = (*self._view[:at], *((new,) if new is not None else ()), *self._view[at + len(old) :])

    @property
    def codebook(self) -> Codebook | None:
        """What the `ivf_*` kinds have learnt so far. The maintenance thread replaces it."""
        return self._codebook

    @codebook.setter
    def codebook(self, codebook: Codebook) -> None:
        self._codebook = codebook

    @property
    def folder(self) -> SegmentFolder:
        """Where this index's segments are on disk."""
        return self._folder

    @property
    def in_memory(self) -> bool:
        return self._in_memory

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments, oldest first; the last is the one being filled."""
        return self._view

    def adopt(
        self, sealed: Sequence[SealedSegment], tombstones: Mapping[str, Version], codebook: Codebook | None
    ) -> None:
        """Take over loaded segments and tombstones. Only for an index never written to."""
        with self._write:
            if len(self._view) > 1 or self._fresh.n_rows:
                raise ValueError("only an empty index can take over a snapshot")
            self._items = sum(int(np.count_nonzero(segment.alive)) for segment in sealed)
            for item_id, version in tombstones.items():
                self._tombstones.remember(item_id, version)
            self._codebook = codebook
            self._view = (*sealed, self._fresh)
        self._maintenance.wake()

    def _let_the_background_catch_up(self) -> None:
        """Hold a writer up while too many segments wait to be sealed, so that memory and search times stay bounded.

        Not for ever: while a long build goes on, writes continue slowly.
        """
        view = self._view
        if len(view) > _WAITING_SEGMENTS and isinstance(view[-_WAITING_SEGMENTS - 1], FreshSegment):
            self._maintenance.wait_for_progress(_LONGEST_WAIT_S)

    def _place(self, item_id: str) -> tuple[Segment, int] | None:
        """Return where an item's living row is. Without the write lock it may miss one that is being rewritten."""
        for segment in reversed(self._view):
            row = segment.row_of(item_id)
            if row is not None:
                return segment, row
        return None

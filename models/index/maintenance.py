"""The background thread that keeps an index fast: it trains, seals, merges and rewrites segments.

It is the one owner of everything FAISS builds: a structure is finished before any search can reach it, and nothing
changes it afterwards.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.settings import IndexSettings
from models.index.codebook import KINDS as IVF_KINDS
from models.index.codebook import Codebook
from models.index.sealed import SealedSegment, seal
from models.index.segments import FreshSegment, Segment
from models.index.structures import BuildCancelled, Ivf

if TYPE_CHECKING:
    from models.index.live import LiveIndex

# A segment is merged with its newer neighbours once they hold a third of its rows; so an index of n rows has about
# log(n) segments, and a row is rewritten about that often.
_MERGE_RATIO = 3
# Merging stops here: a merge needs its result's memory once more, and building a graph of this size takes minutes.
MAX_SEGMENT_ROWS = 131_072


class Maintenance:
    """Plans and carries out one merge after another until there is nothing left to do."""

    def __init__(self, index: "LiveIndex", settings: IndexSettings) -> None:
        self._index = index
        self._settings = settings
        self._changed = threading.Condition()
        self._due = True
        self._busy = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="index-maintenance", daemon=True)
        self.rebuilds = 0
        self.last_error: str | None = None

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to do."""
        with self._changed:
            self._due = True
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        with self._changed:
            self._due = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._due and not self._busy, timeout_s)

    def wait_for_progress(self, timeout_s: float) -> None:
        """Wait until something was sealed or merged; not when the thread is stopped or what it does fails."""
        with self._changed:
            before = self.rebuilds
            self._changed.wait_for(
                lambda: self.rebuilds != before or self._stopping or self.last_error is not None, timeout_s
            )

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._index.use_one_thread()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                # Rows also die without anybody calling wake(); the timeout is for those.
                self._changed.wait_for(lambda: self._due or self._stopping, timeout=1.0)
                if self._stopping:
                    return
                self._due = False
                self._busy = True
            try:
                while not self._stopping and self._step():
                    pass
                self.last_error = None
            except BuildCancelled:
                return
            except Exception as error:
                # Searching goes on with the segments there are; stats() shows the error, and the next round repeats.
                self.last_error = f"{type(error).__name__}: {error}"

    def _step(self) -> bool:
        """Do the next thing that is due; False when there is none."""
        view = self._index.segments()
        if self._settings.kind in IVF_KINDS and (n_rows := _rows_to_learn_from(view, self._settings)):
            codebook = self._index.codebook
            if codebook is None or codebook.outgrown(n_rows):
                self._learn(None)
            elif codebook.stale(n_rows):
                self._learn(codebook)
        run = plan(self._index.segments(), self._settings, self._index.codebook)
        if run:
            self._merge(run)
        return bool(run)

    def _learn(self, codebook: Codebook | None) -> None:
        """Train a codebook on what is sealed, or measure a given one again."""
        parts = [part for part in self._index.capture().parts if isinstance(part[0], SealedSegment)]
        n_rows = sum(rows.size for _, rows in parts)
        if not n_rows:
            return

        def chunks() -> Iterator[NDArray[np.float16]]:
            return (chunk.vectors for segment, rows in parts for chunk in segment.chunks(rows))

        if codebook is None:
            self._index.codebook = Codebook.train(chunks, n_rows, self._index.dim, self._settings)
        else:
            codebook.measure(chunks, n_rows, self._settings)

    def _merge(self, run: tuple[Segment, ...]) -> None:
        parts = [(segment, np.flatnonzero(segment.alive[: segment.n_rows])) for segment in run]
        n_rows = sum(rows.size for _, rows in parts)
        codebook = self._index.codebook
        merged = None
        if n_rows:
            merged = seal(
                parts,
                self._index.folder.ready(),
                self._index.folder.next_name(),
                self._index.dim,
                self._settings,
                structured=_structured(n_rows, self._settings, codebook),
                codebook=codebook,
                in_memory=self._index.in_memory,
                cancelled=lambda: self._stopping,
            )
        self._index.replace_segments(parts, merged)
        with self._changed:
            self.rebuilds += 1
            self._changed.notify_all()


def _structured(n_rows: int, settings: IndexSettings, codebook: Codebook | None) -> bool:
    """Tell whether a segment of so many rows gets a structure. What is learnt already serves segments of any size."""
    if settings.kind in IVF_KINDS:
        return codebook is not None
    return settings.kind != "flat" and n_rows >= settings.train_at


def _rows_to_learn_from(view: Sequence[Segment], settings: IndexSettings) -> int:
    """Return how many living rows are in sealed segments, or 0 while they are too few to learn from."""
    n_rows = sum(int(np.count_nonzero(segment.alive)) for segment in view if isinstance(segment, SealedSegment))
    return n_rows if n_rows >= settings.train_at else 0


def plan(view: Sequence[Segment], settings: IndexSettings, codebook: Codebook | None = None) -> tuple[Segment, ...]:
    """Return the next run of neighbouring segments to make one of, or nothing."""
    closed = view[:-1]  # the last one is being filled
    start = len(closed)
    while start and isinstance(closed[start - 1], FreshSegment):
        start -= 1
    if start < len(closed):
        closed = closed[: start + max(1, MAX_SEGMENT_ROWS // closed[start].n_rows)]  # the rest comes next
        total = sum(segment.n_rows for segment in closed[start:])
        while (
            start
            and closed[start - 1].n_rows <= _MERGE_RATIO * total
            and closed[start - 1].n_rows + total <= MAX_SEGMENT_ROWS
        ):
            start -= 1
            total += closed[start].n_rows
        return tuple(closed[start:])
    for segment in closed:
        if not isinstance(segment, SealedSegment):
            continue
        living = int(np.count_nonzero(segment.alive))
        if segment.n_rows - living > settings.rebuild_tombstone_ratio * segment.n_rows:
            return (segment,)
        if _structured(living, settings, codebook) and segment.structure is None:
            return (segment,)
        if isinstance(segment.structure, Ivf) and codebook is not None and segment.structure.codebook.id != codebook.id:
            return (segment,)
    return ()

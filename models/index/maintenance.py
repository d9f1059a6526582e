"""The background thread that keeps an index fast: it seals, merges and rewrites segments.

It is the one owner of everything FAISS builds: a structure is finished before any search can reach it, and nothing
changes it afterwards.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.settings import IndexSettings
from models.index.segments import FreshSegment, SealedSegment, Segment, join_blocks
from models.index.structures import BuildCancelled

if TYPE_CHECKING:
    from models.index.live import LiveIndex

# A segment is merged with its newer neighbours once they hold a third of its rows; so an index of n rows has about
# log(n) segments, and a row is rewritten about that often.
_MERGE_RATIO = 3
# Merging stops here: a merge needs its result's memory once more, and building a graph of this size takes minutes.
MAX_SEGMENT_ROWS = 262_144


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
                while not self._stopping and (run := plan(self._index.segments(), self._settings)):
                    self._merge(run)
                self.last_error = None
            except BuildCancelled:
                return
            except Exception as error:
                # Searching goes on with the segments there are; stats() shows the error, and the next round repeats.
                self.last_error = f"{type(error).__name__}: {error}"

    def _merge(self, run: tuple[Segment, ...]) -> None:
        blocks = [segment.block(np.flatnonzero(segment.alive[: segment.n_rows])) for segment in run]
        block = join_blocks(blocks)
        merged = None
        if len(block):
            merged = SealedSegment(
                block,
                self._settings,
                structured=len(block) >= self._settings.train_at,
                cancelled=lambda: self._stopping,
            )
        self._index.replace_segments(run, merged)
        self.rebuilds += 1


def plan(view: Sequence[Segment], settings: IndexSettings) -> tuple[Segment, ...]:
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
        dead = segment.n_rows - int(np.count_nonzero(segment.alive))
        if dead > settings.rebuild_tombstone_ratio * segment.n_rows:
            return (segment,)
        wants_structure = settings.kind != "flat" and segment.n_rows - dead >= settings.train_at
        if wants_structure and segment.structure is None:
            return (segment,)
    return ()

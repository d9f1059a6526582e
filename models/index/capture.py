"""A picture of an index at one moment, for what reads all of it: snapshots, hashes, comparisons."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.entries import Version
from models.index.segments import Segment


@dataclass(frozen=True)
class Capture:
    """A consistent picture of an index: its segments, the slots of the items in it (ascending), and the tombstones."""

    view: tuple[Segment, ...]
    slots: NDArray[np.int64]
    tombstones: dict[str, Version]

    def rows(self) -> list[tuple[Segment, NDArray[np.int64]]]:
        """Return the rows of the picture, by segment, in slot order."""
        parts = []
        for segment in self.view:
            slots = segment.columns["slot"][: segment.n_rows]
            rows = np.flatnonzero(np.isin(slots, self.slots, assume_unique=True))
            if rows.size:
                parts.append((segment, rows.astype(np.int64)))
        return parts

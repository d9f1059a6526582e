"""Which row of the live state each trained item is in, and which trained item is in a row."""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.ports import Rows
from serving.recommendation.videos import Videos

UNKNOWN = -1


class TrainedItems:
    """Both directions as arrays. Videos that came since are looked at whenever somebody asks. Thread-safe."""

    def __init__(self, number_of: Mapping[str, int], videos: Videos) -> None:
        self._number_of = number_of
        self._videos = videos
        self._lock = threading.Lock()
        self._row_of = np.full(len(number_of), UNKNOWN, np.int64)
        self._numbers = np.zeros(0, np.int32)  # by row, with room for more
        self._looked_at = 0  # rows
        self._catch_up()

    def rows(self) -> Rows:
        """Return the row of each trained item `(items,)`, `UNKNOWN` where there is no such video (yet)."""
        self._catch_up()
        return self._row_of

    def numbers(self, rows: Rows) -> NDArray[np.int32]:
        """Return the trained item of each row `(n,)`, `UNKNOWN` for a video that was not there at training."""
        self._catch_up()
        return self._numbers[rows]

    def _catch_up(self) -> None:
        if self._looked_at == self._videos.rows:
            return
        with self._lock:
            start, end = self._looked_at, self._videos.rows
            if end > self._numbers.size:
                larger = np.full(max(1_024, end + end // 2), UNKNOWN, np.int32)
                larger[:start] = self._numbers[:start]
                self._numbers = larger
            for row in range(start, end):
                number = self._number_of.get(self._videos.item_id(row), UNKNOWN)
                self._numbers[row] = number
                if number != UNKNOWN:
                    self._row_of[number] = row
            self._looked_at = max(start, end)

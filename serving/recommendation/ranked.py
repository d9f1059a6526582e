"""Rows by value, the greatest first, kept up to date event by event so that no request has to sort all videos."""

import threading

import numpy as np
from numpy.typing import NDArray

Sorted = tuple[NDArray[np.int64], NDArray[np.float64]]


class Ranked:
    """Values of some rows, and those rows in descending order. One writer, any number of readers.

    The order is made when somebody asks for it and kept until a value changes.
    """

    def __init__(self, size: int) -> None:
        """Between `size` and twice as many rows are kept, once that many came."""
        self.size = size
        self._values: dict[int, float] = {}
        self._lock = threading.Lock()
        self._sorted: Sorted | None = None

    def __len__(self) -> int:
        return len(self._values)

    def best(self) -> Sorted:
        """Return rows and their values `(n,)`, the greatest value first, the smaller row first of equal ones."""
        with self._lock:
            if self._sorted is None:
                rows = np.fromiter(self._values.keys(), np.int64, len(self._values))
                values = np.fromiter(self._values.values(), np.float64, len(self._values))
                order = np.lexsort((rows, -values))
                self._sorted = rows[order], values[order]
            return self._sorted

    def discard(self, row: int) -> None:
        """Take a row out."""
        with self._lock:
            if self._values.pop(row, None) is not None:
                self._sorted = None

    def scale(self, factor: float) -> None:
        """Multiply every value."""
        with self._lock:
            self._values = {row: value * factor for row, value in self._values.items()}
            self._sorted = None

    def replace(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Hold these rows instead."""
        with self._lock:
            self._values = dict(zip(rows.tolist(), values.tolist(), strict=True))
            self._sorted = None

    def _put(self, row: int, value: float) -> float | None:
        """Set a value; return the smallest one kept when rows had to go, else None."""
        with self._lock:
            self._values[row] = value
            self._sorted = None
            if len(self._values) <= 2 * self.size:
                return None
            rows = np.fromiter(self._values.keys(), np.int64, len(self._values))
            values = np.fromiter(self._values.values(), np.float64, len(self._values))
            kept = np.argpartition(-values, self.size)[: self.size]
            self._values = dict(zip(rows[kept].tolist(), values[kept].tolist(), strict=True))
            return float(values[kept].min())


class TopList(Ranked):
    """The rows with the greatest values of a quantity that is stored elsewhere and only ever grows.

    Exact: a row below the floor (the smallest value kept when rows last had to go) can only come in by growing beyond
    it, and then it is put.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._floor = -np.inf

    def put(self, row: int, value: float) -> None:
        """Tell the new value of a row."""
        if value < self._floor:
            return
        floor = self._put(row, value)
        if floor is not None:
            self._floor = floor

    def scale(self, factor: float) -> None:
        super().scale(factor)
        self._floor *= factor

    def replace(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        super().replace(rows, values)
        self._floor = float(values.min()) if len(values) >= self.size else -np.inf

    @property
    def thin(self) -> bool:
        """Tell whether so many rows were taken out that others, below the floor, belong in."""
        return self._floor > -np.inf and len(self) < self.size // 2


class HeavyHitters(Ranked):
    """Sums by row of which only the greater are kept: a row that goes loses what it had gathered.

    Good enough for lists of what many people do; memory is bounded, whatever comes.
    """

    def add(self, row: int, amount: float) -> None:
        """Add to the sum of a row."""
        self._put(row, self._values.get(row, 0.0) + amount)

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
        self._rows = np.zeros(2 * size + 1, np.int64)
        self._values = np.zeros(2 * size + 1)
        self._places: dict[int, int] = {}  # row -> its place in both arrays
        self._lock = threading.Lock()
        self._sorted: Sorted | None = None

    def __len__(self) -> int:
        return len(self._places)

    def best(self) -> Sorted:
        """Return rows and their values `(n,)`, the greatest value first, the smaller row first of equal ones."""
        with self._lock:
            if self._sorted is None:
                rows, values = self._rows[: len(self)], self._values[: len(self)]
                order = np.lexsort((rows, -values))
                self._sorted = rows[order], values[order]
            return self._sorted

    def discard(self, row: int) -> None:
        """Take a row out."""
        with self._lock:
            place = self._places.pop(row, None)
            if place is None:
                return
            last = len(self)
            if place != last:  # the last one moves there
                self._rows[place], self._values[place] = self._rows[last], self._values[last]
                self._places[int(self._rows[last])] = place
            self._sorted = None

    def scale(self, factor: float) -> None:
        """Multiply every value."""
        with self._lock:
            self._values *= factor
            self._sorted = None

    def replace(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Hold these rows instead, at most twice `size`."""
        with self._lock:
            self._hold(rows, values)

    def _value(self, row: int) -> float:
        place = self._places.get(row)
        return float(self._values[place]) if place is not None else 0.0

    def _put(self, row: int, value: float) -> float | None:
        """Set a value; return the smallest one kept when rows had to go, else None."""
        with self._lock:
            self._sorted = None
            place = self._places.get(row)
            if place is not None:
                self._values[place] = value
                return None
            place = self._places[row] = len(self)
            self._rows[place], self._values[place] = row, value
            if len(self) <= 2 * self.size:
                return None
            kept = np.argpartition(-self._values, self.size)[: self.size]
            self._hold(self._rows[kept], self._values[kept])
            return float(self._values[: self.size].min())

    def _hold(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self._rows[: len(rows)], self._values[: len(rows)] = rows, values
        self._places = {row: place for place, row in enumerate(rows.tolist())}
        self._sorted = None


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
        self._put(row, self._value(row) + amount)

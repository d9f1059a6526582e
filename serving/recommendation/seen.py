"""Which videos one user has seen: exactly, four bytes each."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.ports import Rows

_MOST_RECENT = 256  # rows in the small set before they are merged into the sorted array
_NOTHING = np.zeros(0, np.int32)


class Seen:
    """A set of rows. One writer; readers need no lock and see each row from the moment `add` returns."""

    __slots__ = ("_parts", "_sorted")

    def __init__(self, rows: NDArray[np.int32] = _NOTHING) -> None:
        """`rows`: ascending, distinct."""
        self._parts: tuple[NDArray[np.int32], set[int]] = (rows, set())  # sorted; and those that came since
        self._sorted: tuple[set[int] | None, int, NDArray[np.int32]] = (None, 0, _NOTHING)  # those that came since

    def __len__(self) -> int:
        rows, recent = self._parts
        return rows.size + len(recent)

    def __contains__(self, row: object) -> bool:
        rows, recent = self._parts
        if row in recent:
            return True
        place = int(np.searchsorted(rows, row))  # type: ignore[call-overload]
        return place < rows.size and bool(rows[place] == row)

    def add(self, row: int) -> bool:
        """Add a row; False when it was there."""
        if row in self:
            return False
        rows, recent = self._parts
        if len(recent) >= _MOST_RECENT:
            rows, recent = _merged(rows, recent), set()
            recent.add(row)
            self._parts = rows, recent
        else:
            recent.add(row)
        return True

    def mask(self, rows: Rows) -> NDArray[np.bool_]:
        """Return, for each row asked for `(n,)`, whether it was seen."""
        known, recent = self._parts
        found = np.zeros(len(rows), np.bool_)
        if known.size:
            found = _are_among(known, rows)
        if recent:
            found |= _are_among(self._recent_sorted(recent), rows)
        return found

    def rows(self) -> NDArray[np.int32]:
        """Return all rows, ascending."""
        known, recent = self._parts
        while True:
            try:
                return _merged(known, recent)
            except RuntimeError:  # one was added meanwhile
                continue

    def _recent_sorted(self, recent: set[int]) -> NDArray[np.int32]:
        """Return the rows of `recent`, ascending. A set only grows, so what was sorted stands while its size does."""
        of, size, rows = self._sorted
        while of is not recent or size != len(recent):
            try:
                of, size, rows = recent, len(recent), np.array(sorted(recent), np.int32)
            except RuntimeError:  # one was added meanwhile
                continue
            self._sorted = of, size, rows
        return rows


def _are_among(known: NDArray[np.int32], rows: Rows) -> NDArray[np.bool_]:
    """Return which rows `(n,)` are among those known: ascending, at least one."""
    wanted = rows.astype(np.int32)  # of another type than `known`, all of that would be converted
    return known[np.minimum(known.searchsorted(wanted), known.size - 1)] == wanted


def _merged(rows: NDArray[np.int32], recent: set[int]) -> NDArray[np.int32]:
    return np.union1d(rows, np.fromiter(recent, np.int32, len(recent)))

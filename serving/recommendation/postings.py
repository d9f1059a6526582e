"""Which rows have what: for each bucket (of words, a creator) its rows, in the order in which they came."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

_NOTHING = np.zeros(0, np.int32)
_JOINED_AT_ONCE = 2_000  # lists: a millisecond or so


class Postings:
    """Growing lists of rows by bucket. One writer; readers get arrays that never change under them."""

    def __init__(self) -> None:
        self._lists: list[tuple[NDArray[np.int32], int]] = []  # room for rows, and how many there are

    def add(self, bucket: int, row: int) -> None:
        """Append a row. The same row may come again; it is kept once, sooner or later."""
        while bucket >= len(self._lists):
            self._lists.append((_NOTHING, 0))
        rows, length = self._lists[bucket]
        if length and rows[length - 1] == row:
            return
        if length == rows.size:
            kept = np.unique(rows)  # so that an item changed for ever cannot fill a list
            length = kept.size
            rows = np.empty(max(4, 2 * length), np.int32)
            rows[:length] = kept
        rows[length] = row
        self._lists[bucket] = rows, length + 1

    def extend(self, buckets: Iterable[int], row: int) -> None:
        """Add one row to several buckets."""
        for bucket in buckets:
            self.add(bucket, row)

    def length(self, bucket: int) -> int:
        """Return how many rows a bucket has (a few may be there twice)."""
        return self._lists[bucket][1] if 0 <= bucket < len(self._lists) else 0

    def newest(self, bucket: int, limit: int) -> NDArray[np.int32]:
        """Return up to `limit` rows of a bucket, the ones that came last, oldest of them first."""
        if not 0 <= bucket < len(self._lists):
            return _NOTHING
        rows, length = self._lists[bucket]
        return rows[max(0, length - limit) : length]

    def sample(self, bucket: int, limit: int) -> NDArray[np.int32]:
        """Return up to `limit` rows of a bucket: half of them the newest, half spread evenly over the older ones."""
        if not 0 <= bucket < len(self._lists):
            return _NOTHING
        rows, length = self._lists[bucket]
        if length <= limit:
            return rows[:length]
        newest = limit // 2
        older = np.arange(limit - newest) * (length - newest) // (limit - newest)
        return np.concatenate([rows[older], rows[length - newest : length]])

    def packed(self, pause: Callable[[], None] = lambda: None) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return all lists one after the other, and their lengths.

        `pause` is called again and again: joining a hundred thousand lists in one go would hold up everybody else.
        """
        lists = list(self._lists)
        lengths = np.fromiter((length for _, length in lists), np.int64, len(lists))
        joined = [_NOTHING]
        for at in range(0, len(lists), _JOINED_AT_ONCE):
            joined.append(np.concatenate([rows[:length] for rows, length in lists[at : at + _JOINED_AT_ONCE]]))
            pause()
        return np.concatenate(joined), lengths

    def restore(self, rows: NDArray[np.int32], lengths: NDArray[np.int64]) -> None:
        """Take over what `packed` returned."""
        ends = np.cumsum(lengths).tolist()
        self._lists = [
            (rows[end - length : end].copy(), length) for end, length in zip(ends, lengths.tolist(), strict=True)
        ]

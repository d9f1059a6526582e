"""What was seen lately: sums over a sliding span of time, kept in buckets."""

from collections import deque

import numpy as np

from core.clock import Clock
from models.drift.distributions import Floats


class Window:
    """Sums of arrays of one width over the last `span_s` seconds.

    Whole buckets are dropped as they grow old, so the span is between `span_s` less a bucket and `span_s`. Not for
    several threads.
    """

    def __init__(self, width: int, span_s: float, clock: Clock, *, buckets: int = 12) -> None:
        self._width = width
        self._buckets = buckets
        self._bucket_s = span_s / buckets
        self._clock = clock
        self._sums: deque[tuple[int, Floats]] = deque()

    def add(self, tally: Floats) -> None:
        """Add the tally of some rows, seen now."""
        now = self._drop_old()
        if not self._sums or self._sums[-1][0] != now:
            self._sums.append((now, np.zeros(self._width)))
        self._sums[-1][1][:] += tally

    def total(self) -> Floats:
        """Return the sum of what was seen in the span `(width,)`."""
        self._drop_old()
        return np.sum([one for _, one in self._sums], axis=0) if self._sums else np.zeros(self._width)

    def _drop_old(self) -> int:
        now = int(self._clock.monotonic() // self._bucket_s)
        while self._sums and self._sums[0][0] <= now - self._buckets:
            self._sums.popleft()
        return now

"""Who has been shown how much: which creators are small, and so have places kept for them."""

import threading

import numpy as np
from numpy.typing import NDArray

from core.clock import Clock
from serving.recommendation.live_state import LiveState

_REFRESH_S = 10.0


class CreatorExposure:
    """Impressions by creator, counted again every ten seconds. Thread-safe."""

    def __init__(self, state: LiveState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._small: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._counted_at: float | None = None

    def small(self, creators: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which creators `(n,)`, by code, belong to the half that was shown least.

        A creator is small who has at most the median of impressions, over all creators with a video that may be shown.
        One who came since the last count is small.
        """
        small = self._current()
        if not small.size:
            return np.ones(len(creators), np.bool_)
        return np.where(creators < small.size, small[np.minimum(creators, small.size - 1)], True)

    def _current(self) -> NDArray[np.bool_]:
        now = self._clock.monotonic()
        with self._lock:
            if self._counted_at is None or now - self._counted_at >= _REFRESH_S:
                self._small, self._counted_at = self._count(), now
            return self._small

    def _count(self) -> NDArray[np.bool_]:
        videos = self._state.videos
        rows = videos.rows
        creators, shown = videos.creator[:rows], self._state.impressions[:rows]
        counts = np.bincount(creators, weights=shown, minlength=1)
        active = np.bincount(creators[videos.flags[:rows] == 0], minlength=counts.size) > 0
        return np.asarray(counts <= (np.median(counts[active]) if active.any() else 0.0), np.bool_)

"""What verdicts make of videos, by row: one number each, so that a thousand candidates are looked up at once."""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from serving.recommendation.ports import Rows, Scores
from serving.restrictions.restriction import Restriction
from serving.restrictions.served import Restrictions
from serving.restrictions.state import Pair, RestrictionState


class OwnedRows(Protocol):
    """What is read of `Videos`."""

    @property
    def handed_over(self) -> Sequence[int]:
        """Rows whose creator changed, in order."""

    @property
    def rows(self) -> int: ...

    def row_of(self, item_id: str) -> int | None: ...

    def item_id(self, row: int) -> str: ...

    def creator_id(self, row: int) -> str: ...


class RestrictedRows:
    """Factors by row: 1, less for what is demoted, 0 for what is enforced. Safe for concurrent use.

    Nobody tells it of verdicts or videos: whoever asks brings it up to date first, under a lock if anything came. So
    an answer that starts after a verdict was applied obeys it, and a verdict about a video that comes later counts as
    soon as the video is there.
    """

    def __init__(self, videos: OwnedRows, restrictions: Restrictions) -> None:
        self._videos = videos
        self._restrictions = restrictions
        self._lock = threading.Lock()
        self._factors: Scores | None = None  # by row; None where nothing is restricted
        # How much of what it is made of was looked at:
        self._rows = 0
        self._handed_over = 0
        self._state: RestrictionState | None = None
        self._changed: list[Pair] = []
        self._changes = 0  # of `_changed`

    def factors(self, rows: Rows) -> Scores | None:
        """Return the factors of rows `(n,)`, or None where nothing at all is restricted."""
        state = self._restrictions.current
        if (
            state is not self._state
            or state.changed is not self._changed
            or len(state.changed) != self._changes
            or self._videos.rows != self._rows
            or len(self._videos.handed_over) != self._handed_over
        ):
            with self._lock:
                self._catch_up()
        factors = self._factors
        return factors[rows] if factors is not None else None

    def of(self, row: int) -> Restriction | None:
        """Return what restricts a video now."""
        return self._restrictions.of(self._videos.item_id(row), self._videos.creator_id(row))

    def _catch_up(self) -> None:
        # How much there is to look at is noted before it is looked at: what comes meanwhile is for the next time.
        state = self._restrictions.current
        rows, handed_over, changed = self._videos.rows, len(self._videos.handed_over), state.changed
        changes = len(changed)
        if not state.n_items:
            factors = None
        elif state is not self._state or changed is not self._changed or rows - self._rows > state.n_items:
            factors = np.ones(rows, np.float32)
            for pair in state.items():
                self._look_for(factors, state, pair)
            for row in range(max(0, rows - 1), rows):  # the newest may not be found by its id yet
                self._look_at(factors, state, row)
        else:
            factors = self._as_long(rows)
            for pair in changed[self._changes : changes]:
                self._look_for(factors, state, pair)
            for row in [*range(self._rows, rows), *self._videos.handed_over[self._handed_over : handed_over]]:
                self._look_at(factors, state, row)
        self._factors = factors
        self._state, self._changed, self._changes = state, changed, changes
        self._rows, self._handed_over = rows, handed_over

    def _look_for(self, factors: Scores, state: RestrictionState, pair: Pair) -> None:
        row = self._videos.row_of(pair[0])
        if row is not None and row < len(factors):
            self._look_at(factors, state, row)

    def _look_at(self, factors: Scores, state: RestrictionState, row: int) -> None:
        found = state.of(self._videos.item_id(row), self._videos.creator_id(row))
        factors[row] = 1.0 if found is None else found.factor

    def _as_long(self, rows: int) -> Scores:
        before = self._factors if self._factors is not None else np.ones(0, np.float32)
        if rows <= len(before):
            return before
        longer = np.ones(rows + rows // 8, np.float32)
        longer[: len(before)] = before
        return longer

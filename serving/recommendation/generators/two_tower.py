"""What lies near the viewer in the space of a two-tower model."""

import numpy as np

from core.ports import SearchFilter, VectorIndex
from serving.recommendation.generators.picking import NO_PROPOSAL, first_eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Tower, Viewer

_MOST_SPARE = 500  # hits fetched beyond the limit, because the viewer has seen some


class TwoTower:
    """Proposes the videos whose vectors are nearest to the viewer's: an approximate search of the vector index."""

    def __init__(self, state: LiveState, tower: Tower, index: VectorIndex, name: str = "two-tower") -> None:
        """`index` holds the vectors of the tower's item half, by item id."""
        self.name = name
        self._state = state
        self._tower = tower
        self._index = index

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        """Raises InvalidVector when the tower gives a vector that cannot be searched with."""
        vector = self._tower.user_vector(viewer)
        if vector is None or not len(self._index):
            return NO_PROPOSAL
        spare = min(_MOST_SPARE, len(self._state.audience.seen(viewer.user_id)))
        hits = self._index.search(vector, limit + spare, SearchFilter(kind="video"))
        row_of = self._state.videos.row_of
        found = [(row, hit.score) for hit in hits if (row := row_of(hit.entry.item_id)) is not None]
        if not found:
            return NO_PROPOSAL
        rows = np.array([row for row, _ in found], np.int64)
        return first_eligible(self._state, viewer, rows, np.array([score for _, score in found]), limit)

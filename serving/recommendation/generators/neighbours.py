"""What those who watched the same videos also watched."""

import numpy as np

from serving.recommendation.generators.picking import NO_PROPOSAL, best_of, eligible
from serving.recommendation.generators.taste import liked_rows
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Neighbours, Proposal, Viewer

_LIKED = 20  # videos looked at


class ItemNeighbours:
    """Proposes the trained neighbours of what a viewer liked lately; scores of several add up, by weight."""

    name = "neighbours"

    def __init__(self, state: LiveState, neighbours: Neighbours) -> None:
        self._state = state
        self._neighbours = neighbours

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        found = [(weight, self._neighbours.of(row)) for row, weight in liked_rows(viewer, _LIKED).items()]
        found = [(weight, near) for weight, near in found if len(near.rows)]
        if not found:
            return NO_PROPOSAL
        rows = np.concatenate([near.rows for _, near in found])
        scores = np.concatenate([weight * near.scores for weight, near in found])
        known = (rows >= 0) & (rows < self._state.videos.rows) & np.isfinite(scores)
        distinct, places = np.unique(rows[known], return_inverse=True)
        sums = np.bincount(places, scores[known], minlength=len(distinct))
        mask = eligible(self._state, viewer, distinct)
        return best_of(distinct[mask], sums[mask], limit)

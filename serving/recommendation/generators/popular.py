"""What is most popular everywhere."""

from serving.recommendation.generators.picking import first_eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Viewer


class Popular:
    """Proposes by decayed counts of what everybody does (`Popularity.top`)."""

    name = "popular"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        rows, sums = self._state.popularity.top()
        counts = self._state.popularity.counts(rows) if len(rows) else sums
        return first_eligible(self._state, viewer, rows, counts, limit)

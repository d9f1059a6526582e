"""What is suddenly popular."""

from serving.recommendation.generators.picking import first_eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Viewer


class Trending:
    """Proposes by how much more a video is watched now than it used to be (`Popularity.trending`)."""

    name = "trending"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        rows, scores = self._state.popularity.trending()
        return first_eligible(self._state, viewer, rows, scores, limit)

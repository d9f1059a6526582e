"""The generators of a trained system, as generators of the recommender."""

from serving.recommendation.ports import Proposal, Viewer
from serving.recommendation.trained.asking import Asking


class TrainedGenerator:
    """Scores every item the model knows for a viewer and proposes the best of those that may be shown.

    It lists as many as it did when the ranker learned from it, and proposes the first of them.
    """

    def __init__(self, name: str, trained_name: str, asking: Asking) -> None:
        """`trained_name` is what training called it; `name` is another where a live generator has that one."""
        self.name = name
        self._trained_name = trained_name
        self._asking = asking

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        listed = self._asking.list_of(self._trained_name, viewer)
        return Proposal(listed.rows[:limit], listed.scores[:limit])

"""The generators of a trained system, as generators of the recommender."""

import numpy as np
from numpy.typing import NDArray

from models.recommendation.two_tower import TwoTower as TwoTowerModel
from serving.recommendation.generators.two_tower import TwoTower
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


class TrainedTower:
    """The user half of the two towers (`ports.Tower`)."""

    def __init__(self, model: TwoTowerModel, asking: Asking) -> None:
        self.version = asking.system.version
        self._model = model
        self._asking = asking

    def user_vector(self, viewer: Viewer) -> NDArray[np.float32] | None:
        """Return `(dim,)` of length 1; a viewer without a history has one, too."""
        users = self._asking.about(viewer).users
        return viewer.memo.get(self, lambda: self._model.user_vectors(users)[0])


class IndexedGenerator:
    """The two towers of a large catalogue: what an index of the trained videos finds is the list the ranker sees."""

    def __init__(self, name: str, trained_name: str, asking: Asking, search: TwoTower) -> None:
        self.name = name
        self._trained_name = trained_name
        self._asking = asking
        self._search = search

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        found = self._search.propose(viewer, max(limit, self._asking.system.each))
        listed = self._asking.take(self._trained_name, viewer, found)
        return Proposal(listed.rows[:limit], listed.scores[:limit])

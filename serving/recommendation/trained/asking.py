"""A trained system over a live state: what is asked about one viewer, worked out once for all who ask."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.recommendation.feedback import Users
from models.recommendation.recommender import best_items
from serving.recommendation.generators.picking import eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Rows, Scores, Viewer
from serving.recommendation.trained.items import TrainedItems
from serving.recommendation.trained.system import TrainedSystem
from serving.recommendation.trained.viewers import users_of


@dataclass(frozen=True, eq=False)
class Listed:
    """What one generator found, best first: trained items `(n,)`, their rows and scores."""

    items: NDArray[np.int32]
    rows: Rows
    scores: Scores


@dataclass(frozen=True, eq=False)
class Asked:
    """One viewer's question. `lists` fills up as generators answer, each its own key."""

    users: Users  # of one
    may_show: NDArray[np.bool_]  # (n_items,): which items are there, may be shown, and were not seen
    rows: Rows  # (n_items,)
    lists: dict[str, Listed] = field(default_factory=dict)


class Asking:
    """Turns viewers into questions. Thread-safe."""

    def __init__(self, system: TrainedSystem, state: LiveState) -> None:
        self.system = system
        self.items = TrainedItems(system.number_of, state.videos)
        self._state = state

    def about(self, viewer: Viewer) -> Asked:
        """Return the question about a viewer: the same for everybody who asks in one request."""
        return viewer.memo.get(self, lambda: self._ask(viewer))

    def list_of(self, generator: str, viewer: Viewer) -> Listed:
        """Let a generator score all items for a viewer; return its best, as many as the ranker learned from.

        A generator that gives all items one score cannot tell them apart and lists nothing, as in training.
        """
        asked = self.about(viewer)
        scores = self.system.scores[generator](asked.users)[0]
        if np.ptp(scores) > 0:
            masked = np.where(asked.may_show, scores, -np.inf).astype(np.float32)
            best = best_items(masked[None], self.system.each)[0]
            best = best[np.isfinite(masked[best])]
        else:
            masked, best = scores, np.zeros(0, np.int64)
        listed = asked.lists[generator] = Listed(best.astype(np.int32), asked.rows[best], masked[best])
        return listed

    def take(self, generator: str, viewer: Viewer, proposal: Proposal) -> Listed:
        """Take what a generator found otherwise than by scoring all, as its list: the best of it, as many as there
        were in training."""
        rows, scores = proposal.rows[: self.system.each], proposal.scores[: self.system.each]
        listed = self.about(viewer).lists[generator] = Listed(self.items.numbers(rows), rows, scores)
        return listed

    def _ask(self, viewer: Viewer) -> Asked:
        system, rows = self.system, self.items.rows().copy()
        may_show = rows >= 0
        there = np.flatnonzero(may_show)
        may_show[there] = eligible(self._state, viewer, rows[there])
        return Asked(users_of(viewer, self.items, system.user_encoder, system.n_user_features), may_show, rows)

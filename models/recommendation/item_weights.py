"""Models that are a matrix of items by items: a user's score is the sum over the rows of what they liked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.feedback import Feedback, Users
from models.recommendation.recommender import Report, Scores, fitted, silent


class _ItemWeights:
    """Scores `history @ weights`; `decay` (items) makes the recent history count more."""

    name: ClassVar[str]

    def __init__(self, decay: float | None) -> None:
        if decay is not None and not decay > 0:
            raise InvalidInput(f"decay must be a number of items above 0, got {decay}")
        self._decay = decay
        self._weights: NDArray[np.float32] | None = None

    def score(self, users: Users) -> Scores:
        weights = fitted(self._weights, self.name)
        return np.asarray(users.history_matrix(len(weights), decay=self._decay) @ weights, np.float32)

    def item_to_item(self) -> NDArray[np.float32]:
        """Return how much liking the row's item speaks for the column's `(items, items)`."""
        return fitted(self._weights, self.name)

    def state(self) -> dict[str, NDArray]:
        return {"weights": fitted(self._weights, self.name)}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._weights = state["weights"]


@dataclass(frozen=True)
class NeighboursConfig:
    """`shrink` holds back similarities that rest on few users; `neighbours` is how many each item keeps."""

    neighbours: int = 50
    shrink: float = 10.0
    decay: float | None = None


class ItemNeighbours(_ItemWeights):
    """Item-based nearest neighbours: cosine of the users who liked both (Sarwar et al. 2001, shrunk)."""

    name = "item-knn"

    def __init__(self, config: NeighboursConfig | None = None) -> None:
        self.config = config or NeighboursConfig()
        super().__init__(self.config.decay)

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        matrix = feedback.matrix()
        together = np.asarray((matrix.T @ matrix).todense(), np.float32)
        liked = np.sqrt(np.diag(together))
        similar = together / np.maximum(np.outer(liked, liked) + self.config.shrink, 1e-9)
        np.fill_diagonal(similar, 0.0)
        keep = min(self.config.neighbours, len(similar))
        # Each column keeps its nearest: an item is scored by its own neighbours among the history.
        floor = -np.partition(-similar, keep - 1, axis=0)[keep - 1]
        self._weights = np.where(similar >= floor, similar, 0.0).astype(np.float32)


@dataclass(frozen=True)
class EaseConfig:
    """`l2` is the strength of the regularisation."""

    l2: float = 200.0
    decay: float | None = None


class Ease(_ItemWeights):
    """EASE^R: a linear autoencoder without self-loops, in closed form (Steck 2019, https://arxiv.org/abs/1905.03375).

    Inverts an items-by-items matrix, so it is for catalogues of some ten thousand items at most.
    """

    name = "ease"

    def __init__(self, config: EaseConfig | None = None) -> None:
        self.config = config or EaseConfig()
        super().__init__(self.config.decay)

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        matrix = feedback.matrix().astype(np.float64)
        gram = np.asarray((matrix.T @ matrix).todense())
        gram[np.diag_indices_from(gram)] += self.config.l2
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights.astype(np.float32)


@dataclass(frozen=True)
class TransitionsConfig:
    """`window` is how far apart two items of a history may be; `backward` how much the reverse order counts."""

    window: int = 20
    decay: float | None = 5.0
    smoothing: float = 5.0
    backward: float = 0.5


class Transitions(_ItemWeights):
    """What tends to be liked soon after what: pairs of one history, weighted by 1 / distance, damped by popularity."""

    name = "transitions"

    def __init__(self, config: TransitionsConfig | None = None) -> None:
        self.config = config or TransitionsConfig()
        super().__init__(self.config.decay)

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        liked = feedback.positives()
        order = np.argsort(liked.user, kind="stable")
        user, item = liked.user[order], liked.item[order]
        n = feedback.n_items
        after = sp.csr_matrix((n, n), dtype=np.float32)
        for distance in range(1, self.config.window + 1):
            same = user[:-distance] == user[distance:]
            first, second = item[:-distance][same], item[distance:][same]
            values = np.full(len(first), 1.0 / distance, np.float32)
            after = after + sp.csr_matrix((values, (first, second)), shape=(n, n))
        both = np.asarray((after + self.config.backward * after.T).todense(), np.float32)
        damp = 1.0 / np.sqrt(feedback.item_counts() + self.config.smoothing)
        both *= damp[:, None] * damp[None, :]
        np.fill_diagonal(both, 0.0)
        self._weights = both.astype(np.float32)

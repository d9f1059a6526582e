"""Content-based filtering: items like those a user liked, by title, tags and categories. Knows new items at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg
from numpy.typing import NDArray

from models.recommendation.features import tf_idf
from models.recommendation.feedback import Feedback, Users
from models.recommendation.recommender import Report, Scores, fitted, silent


@dataclass(frozen=True)
class ContentConfig:
    """`dim` of the vectors; `decay` (items) makes the recent history count more."""

    dim: int = 64
    decay: float | None = 20.0


class ContentBased:
    """Vectors of length 1 by latent semantic analysis of tf-idf; a user is the mean of what they liked.

    Deerwester et al. 1990. Items without any words have the zero vector. Without an item table every score is 0.
    """

    name = "content"

    def __init__(self, config: ContentConfig | None = None) -> None:
        self.config = config or ContentConfig()
        self._vectors: NDArray[np.float32] | None = None

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        table = feedback.item_table
        words = tf_idf(table.aligned_tokens(feedback.items)) if table else None
        rank = min(self.config.dim, min(words.shape) - 1) if words is not None else 0
        if words is None or rank < 1 or not words.nnz:
            self._vectors = np.zeros((feedback.n_items, 1), np.float32)
            return
        start = np.random.default_rng(0).normal(size=min(words.shape))
        left, strengths, _ = scipy.sparse.linalg.svds(words.astype(np.float64), k=rank, v0=start)
        vectors = (left * strengths)[:, ::-1]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-9).astype(np.float32)

    def item_vectors(self) -> NDArray[np.float32]:
        return fitted(self._vectors, self.name)

    def user_vectors(self, users: Users) -> NDArray[np.float32]:
        vectors = self.item_vectors()
        history = users.history_matrix(len(vectors), decay=self.config.decay)
        total = np.maximum(np.asarray(history.sum(axis=1)), 1e-9)
        return np.asarray((history @ vectors) / total, np.float32)

    def score(self, users: Users) -> Scores:
        return self.user_vectors(users) @ self.item_vectors().T

    def state(self) -> dict[str, NDArray]:
        return {"vectors": self.item_vectors()}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._vectors = state["vectors"]

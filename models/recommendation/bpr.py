"""Bayesian personalised ranking by `implicit`: a library baseline (Rendle et al. 2009, arxiv.org/abs/1205.2618)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.recommendation.feedback import PAD, Feedback, Users
from models.recommendation.recommender import Report, Scores, fitted, silent


@dataclass(frozen=True)
class BprConfig:
    """As in `implicit`."""

    factors: int = 64
    learning_rate: float = 0.01
    regularization: float = 0.01
    iterations: int = 100
    seed: int = 0


class Bpr:
    """Vectors of the users it was fitted with, whatever they do later; somebody new gets the mean user."""

    name = "bpr"

    def __init__(self, config: BprConfig | None = None) -> None:
        self.config = config or BprConfig()
        self._users: NDArray[np.float32] | None = None
        self._items: NDArray[np.float32] | None = None

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        config = self.config
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            warnings.simplefilter("ignore", RuntimeWarning)
            model = BayesianPersonalizedRanking(
                config.factors,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                iterations=config.iterations,
                random_state=config.seed,
                num_threads=1,  # its threads write without locks, so more than one is not repeatable
            )
            model.fit(
                feedback.matrix(),
                show_progress=False,
                callback=lambda epoch, *_: report("BPR", epoch + 1, config.iterations),
            )
        self._users = np.asarray(model.user_factors, np.float32)
        self._items = np.asarray(model.item_factors, np.float32)

    def item_vectors(self) -> NDArray[np.float32]:
        return fitted(self._items, self.name)

    def user_vectors(self, users: Users) -> NDArray[np.float32]:
        known = fitted(self._users, self.name)
        mean = known.mean(axis=0)
        return np.where((users.place == PAD)[:, None], mean, known[np.maximum(users.place, 0)]).astype(np.float32)

    def score(self, users: Users) -> Scores:
        return self.user_vectors(users) @ self.item_vectors().T

    def state(self) -> dict[str, NDArray]:
        return {"users": fitted(self._users, self.name), "items": self.item_vectors()}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._users, self._items = state["users"], state["items"]

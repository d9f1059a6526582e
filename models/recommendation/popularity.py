"""What everybody likes: the baseline that every personalised model has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.recommendation.feedback import Feedback, Users
from models.recommendation.recommender import Report, Scores, fitted, silent

_DAY_S = 86_400.0


@dataclass(frozen=True)
class PopularityConfig:
    """`half_life_days` makes old feedback count less: what is trending at the end of the feedback."""

    half_life_days: float | None = None


class Popularity:
    """Counts of relevant pairs, the same for everybody."""

    name = "popularity"

    def __init__(self, config: PopularityConfig | None = None) -> None:
        self.config = config or PopularityConfig()
        self._counts: NDArray[np.float32] | None = None

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        liked = feedback.positives()
        weights = None
        if self.config.half_life_days is not None and len(liked):
            weights = 0.5 ** ((liked.time[-1] - liked.time) / (_DAY_S * self.config.half_life_days))
        self._counts = np.bincount(liked.item, weights, minlength=feedback.n_items).astype(np.float32)

    def score(self, users: Users) -> Scores:
        return np.tile(fitted(self._counts, self.name), (len(users), 1))

    def state(self) -> dict[str, NDArray]:
        return {"counts": fitted(self._counts, self.name)}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._counts = state["counts"]

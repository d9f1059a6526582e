"""What every model of the ladder can do."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.feedback import Feedback, Users

Scores = NDArray[np.float32]
Report = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class Recommender(Protocol):
    """Learns from feedback and scores all items for users, by what they have done until now.

    Users need not have been there at training time unless the model's docstring says so: their history and features
    are what counts.
    """

    @property
    def name(self) -> str:
        """What the model is called in the ladder and the registry."""
        ...

    @property
    def config(self) -> Any:
        """The settings, a frozen dataclass."""
        ...

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        """Learn from the feedback; what was learned before is forgotten."""
        ...

    def score(self, users: Users) -> Scores:
        """Return a score for each user and item `(B, items)`; higher is better, scales differ between models."""
        ...

    def state(self) -> dict[str, NDArray]:
        """Return what was learned, as arrays by name."""
        ...

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Take what `state` returned."""
        ...


class Embedder(Recommender, Protocol):
    """A recommender whose score is the dot product of a user's and an item's vector, so an index can serve it."""

    def item_vectors(self) -> NDArray[np.float32]:
        """Return `(items, D)`."""
        ...

    def user_vectors(self, users: Users) -> NDArray[np.float32]:
        """Return `(B, D)`."""
        ...


def fitted(array: NDArray | None, model: str) -> NDArray:
    """Return what a model learned; raises InvalidInput where it has not learned yet."""
    if array is None:
        raise InvalidInput(f"the model {model} was not fitted")
    return array


def best_items(scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the places of the highest scores of each row in falling order `(B, count)`; equal ones by place."""
    count = min(count, scores.shape[1])
    part = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def standardised(scores: Scores) -> Scores:
    """Return each row with mean 0 and deviation 1, so that scores of different models can be compared."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12).astype(np.float32)

"""What a training by gradient steps is made of, whatever runs it: this process alone, or workers on a cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.progress import Report

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Recipe:
    """How the steps are taken: AdamW under one cycle of the learning rate, gradients clipped."""

    epochs: int
    learning_rate: float  # at its highest
    weight_decay: float
    warm_up: float = 0.3  # share of the steps in which the rate rises
    longest_gradient: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Place:
    """Which of the workers this is. They take every step together, each on its part of the batch."""

    rank: int
    world: int

    def rows(self, count: int) -> NDArray[np.int64]:
        """Return this worker's rows of a batch of `count`; there may be none."""
        return np.arange(self.rank, count, self.world)


ALONE = Place(0, 1)


class Lesson(Protocol[BatchT]):
    """A network and what it is taught. It must survive pickling: workers get a copy.

    A step's batch is the same whatever the number of workers, and so are the steps and the rate; only who works on
    which rows of it changes. What a batch draws at random (negatives, dropout) is drawn by each worker for itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> nn.Module:
        """What is trained, in place."""
        ...

    @property
    def recipe(self) -> Recipe: ...

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        ...

    def batches(self, rng: np.random.Generator) -> Iterator[BatchT]:
        """Yield an epoch's batches in an order that `rng` decides."""
        ...

    def part(self, batch: BatchT, place: Place) -> tuple[BatchT, float]:
        """Return a worker's rows of a batch, and which share of the batch's loss they stand for.

        A worker for whom there are no rows gets any that the loss can be computed of, and the share 0.
        """
        ...

    def loss(self, batch: BatchT, rng: np.random.Generator) -> Tensor:
        """Return the mean loss of a batch, on the device where the network is."""
        ...


Trainer = Callable[[Lesson[Any], Report], None]
"""Trains a lesson's network in place, and reports the epochs."""

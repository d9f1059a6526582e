"""Distributions as counts that can be added: of numbers, of categories, of vectors.

Each has a `tally` of rows, an array of fixed width. Tallies of two batches added are the tally of both, which is what
makes windows cheap: a window is a sum, whatever was seen in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FINE = 50
"""Bins of equal share that a distribution of numbers has at most: the Kolmogorov-Smirnov distance is exact to 1/50."""
COARSE = 10
"""The same for projections of vectors, of which there are many."""
AXES = 16
"""Principal directions that vectors are projected on."""
_MOST_CATEGORIES = 40


@dataclass(frozen=True)
class Numbers:
    """Bins between `edges`: the first holds what is below them all, the last but one what is above, the last NaN.

    A bin is `[edge, next edge)`. Edges are quantiles of the reference, its least value, and what follows its greatest,
    so what is outside the range of the reference has bins of its own.
    """

    edges: Floats

    @classmethod
    def of(cls, values: NDArray[np.floating], bins: int = FINE) -> "Numbers":
        """Choose bins of equal share; values that many rows have get a bin of their own. NaN is unknown."""
        known = np.asarray(values, np.float64)
        known = known[np.isfinite(known)]
        if not len(known):
            return cls(np.zeros(0))
        quantiles = np.quantile(known, np.linspace(0.0, 1.0, bins + 1), method="inverted_cdf")
        return cls(np.unique([*quantiles, np.nextafter(quantiles[-1], np.inf)]))

    @property
    def width(self) -> int:
        return len(self.edges) + 2

    def tally(self, values: NDArray[np.floating]) -> Floats:
        """Return how many of `(n,)` values are in each bin `(width,)`; NaN and infinite ones are in the last."""
        place = np.searchsorted(self.edges, values, side="right")
        place[~np.isfinite(values)] = len(self.edges) + 1
        return np.bincount(place, minlength=self.width).astype(np.float64)


@dataclass(frozen=True)
class Categories:
    """Named categories; after them one for all others, and one for what is unknown (None)."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str | None]) -> "Categories":
        """Choose the most frequent categories."""
        names, counts = np.unique([value for value in values if value is not None], return_counts=True)
        return cls(tuple(str(names[place]) for place in np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES]))

    @property
    def width(self) -> int:
        return len(self.names) + 2

    def tally(self, values: Sequence[str | None]) -> Floats:
        """Return how many values are of each category `(width,)`."""
        places = {name: place for place, name in enumerate(self.names)}
        others, unknown = len(self.names), len(self.names) + 1
        found = [unknown if value is None else places.get(value, others) for value in values]
        return np.bincount(np.asarray(found, np.int64), minlength=self.width).astype(np.float64)


@dataclass(frozen=True)
class Vectors:
    """Where vectors lie: how far from the reference's mean, and where along its principal directions.

    `mean` `(D,)`, `axes` `(a, D)` orthonormal, `coordinates` the bins of the distance and of each projection. `spread`
    is the total variance, the trace of the covariance S, and `spread_squared` the trace of S²: what the noise of a
    mean depends on.
    """

    mean: Floats
    axes: Floats
    coordinates: tuple[Numbers, ...]
    spread: float
    spread_squared: float

    @classmethod
    def of(cls, rows: NDArray[np.floating]) -> "Vectors":
        """Find mean and directions of `(n, D)` vectors; a row with NaN is a vector that is missing.

        Raises ValueError where fewer than two vectors are there.
        """
        known = np.asarray(rows, np.float64)
        known = known[np.isfinite(known).all(axis=1)]
        if len(known) < 2:
            raise ValueError("a distribution of vectors needs two at least")
        mean = known.mean(axis=0)
        covariance = np.cov(known, rowvar=False).reshape(known.shape[1], known.shape[1])
        _, directions = np.linalg.eigh(covariance)
        axes = np.ascontiguousarray(directions.T[::-1][: min(AXES, known.shape[1])])
        bare = cls(mean, axes, (), float(np.trace(covariance)), float(np.square(covariance).sum()))
        columns = bare._coordinates_of(known)
        coordinates = (Numbers.of(columns[:, 0]), *(Numbers.of(column, COARSE) for column in columns.T[1:]))
        return cls(mean, axes, coordinates, bare.spread, bare.spread_squared)

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def width(self) -> int:
        return sum(bins.width for bins in self.coordinates) + 1 + self.dim

    def tally(self, rows: NDArray[np.floating]) -> Floats:
        """Return the counts of each coordinate, then how many of `(n, D)` vectors are there, then their sum."""
        there = np.isfinite(rows[:, 0])
        if not there.any():
            counts = [np.append(np.zeros(bins.width - 1), len(rows)) for bins in self.coordinates]
            return np.concatenate([*counts, np.zeros(1 + self.dim)])
        known = np.asarray(rows[there], np.float64)
        columns = np.full((len(rows), 1 + len(self.axes)), np.nan)
        columns[there] = self._coordinates_of(known)
        counts = [bins.tally(column) for bins, column in zip(self.coordinates, columns.T, strict=True)]
        return np.concatenate([*counts, [float(len(known))], known.sum(axis=0)])

    def parts(self, tally: Floats) -> tuple[list[Floats], float, Floats]:
        """Take a tally apart: the counts of each coordinate, how many vectors, their sum `(D,)`."""
        counts = np.split(tally[: -1 - self.dim], np.cumsum([bins.width for bins in self.coordinates])[:-1])
        return counts, float(tally[-1 - self.dim]), tally[-self.dim :]

    def _coordinates_of(self, known: Floats) -> Floats:
        """Return `(n, 1 + a)`: the distance to the mean, and the place along each direction."""
        centred = known - self.mean
        return np.column_stack([np.linalg.norm(centred, axis=1), centred @ self.axes.T])


Distribution = Numbers | Categories | Vectors

"""Discretisation: a continuous number becomes the bucket it falls in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput


@dataclass(frozen=True)
class Bucketing:
    """Buckets between strictly rising edges: bucket 0 below the first, bucket `len(edges)` from the last on.

    A value equal to an edge belongs to the bucket above it (ages 0-9, 10-19, ...: edges 10, 20, ...). NaN gets a
    bucket of its own, `len(edges) + 1`.
    """

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)) or not np.isfinite(self.edges).all():
            raise InvalidInput(f"bucket edges must be finite and strictly rising, got {self.edges}")

    @classmethod
    def quantiles(cls, values: NDArray[np.float64], buckets: int) -> "Bucketing":
        """Learn edges that put about equally many finite values in each of at most `buckets` buckets."""
        if buckets < 2:
            raise InvalidInput(f"bucketing needs at least 2 buckets, got {buckets}")
        seen = values[np.isfinite(values)]
        if not len(seen):
            raise InvalidInput("cannot fit buckets: there is no finite value")
        # An observed value as the edge (not a point between two): interpolation could round onto a neighbour.
        edges = np.unique(np.quantile(seen, np.arange(1, buckets) / buckets, method="lower"))
        return cls(tuple(float(edge) for edge in edges))

    @property
    def size(self) -> int:
        """The number of buckets, that of missing values included."""
        return len(self.edges) + 2

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bucket of each value, same shape, in `[0, size)`."""
        found = np.searchsorted(np.asarray(self.edges, np.float64), values, side="right")
        return np.where(np.isnan(values), len(self.edges) + 1, found).astype(np.int64)

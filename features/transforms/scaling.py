"""Numbers brought to a common range (min-max), a standard distribution (z-score) or a lower skew (log)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MinMax:
    """`z = (x - min) / (max - min)`, clipped to [0, 1] for values outside what was seen; 0 where max = min."""

    low: float
    high: float

    @classmethod
    def fit(cls, values: Floats) -> "MinMax":
        """Learn the range of the finite values. Raises InvalidInput when there is none."""
        seen = _finite(values)
        return cls(float(seen.min()), float(seen.max()))

    def apply(self, values: Floats) -> Floats:
        # Halved before subtracting, so that a range wider than the largest float does not overflow.
        spread = self.high / 2 - self.low / 2
        if spread <= 0:
            return np.where(np.isnan(values), np.nan, 0.0)
        return np.asarray(np.clip((values / 2 - self.low / 2) / spread, 0.0, 1.0), np.float64)


@dataclass(frozen=True)
class ZScore:
    """`z = (x - mean) / std` (population standard deviation); 0 where std = 0."""

    mean: float
    std: float

    @classmethod
    def fit(cls, values: Floats) -> "ZScore":
        """Learn mean and deviation of the finite values. Raises InvalidInput when there is none."""
        seen = _finite(values)
        return cls(float(seen.mean()), float(seen.std()))

    def apply(self, values: Floats) -> Floats:
        if self.std == 0:
            return np.where(np.isnan(values), np.nan, 0.0)
        return np.asarray((values - self.mean) / self.std, np.float64)


@dataclass(frozen=True)
class LogScale:
    """`z = sign(x) * log(1 + |x|)`: the book's log(x), defined at zero and for negative numbers, too."""

    def apply(self, values: Floats) -> Floats:
        return np.asarray(np.sign(values) * np.log1p(np.abs(values)), np.float64)


def _finite(values: Floats) -> Floats:
    seen = values[np.isfinite(values)]
    if not len(seen):
        raise InvalidInput("cannot fit a scale: there is no finite value")
    return seen

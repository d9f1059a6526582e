"""Missing values replaced by a default, the mean, the median or the mode of what was seen in training."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Imputation:
    """Puts `value` where a number is NaN."""

    value: float

    @classmethod
    def fit(
        cls, values: Floats, strategy: Literal["mean", "median", "mode"] = "mean", default: float = 0.0
    ) -> "Imputation":
        """Learn the fill value from `(n,)` numbers, NaN meaning missing; `default` when all are missing.

        The mode of a tie is the smallest of the most common values, so that fitting twice gives the same.
        """
        seen = values[~np.isnan(values)]
        if not len(seen):
            return cls(float(default))
        if strategy == "mean":
            return cls(float(np.mean(seen)))
        if strategy == "median":
            return cls(float(np.median(seen)))
        if strategy == "mode":
            distinct, counts = np.unique(seen, return_counts=True)
            return cls(float(distinct[np.argmax(counts)]))
        raise InvalidInput(f"unknown imputation strategy {strategy!r}; use mean, median or mode")

    def apply(self, values: Floats) -> Floats:
        """Return `values` (any shape) with NaN replaced."""
        return np.where(np.isnan(values), self.value, values)

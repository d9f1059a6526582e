"""Confidence intervals by resampling queries: how far a mean could be off by the choice of test queries alone."""

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput


def mean_interval(
    values: NDArray[np.float64], *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of the mean of per-query values (Efron 1979).

    For the difference of two systems on the same queries pass the per-query differences: the comparison is then paired.
    """
    if values.ndim != 1 or len(values) == 0:
        raise InvalidInput(f"an interval needs at least one value a query, got an array of shape {values.shape}")
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence must lie between 0 and 1, got {confidence}")
    generator = np.random.default_rng(seed)
    rows = max(1, 2_000_000 // len(values))  # resamples x queries need not fit in memory at once
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), (min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)

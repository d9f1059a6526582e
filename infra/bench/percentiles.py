"""Latency samples of one repetition, summed up."""

from collections.abc import Sequence

import numpy as np


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value that `share` percent of the samples do not exceed."""
    return float(np.percentile(samples, share))


def milliseconds(samples_s: Sequence[float], share: float) -> float:
    """Return a percentile of samples in seconds, in milliseconds."""
    return 1000 * percentile(samples_s, share)

"""One score told on the scale of another: monotone regression over candidates that have both."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.ports import Scores


def told_on(scale: Scores, both: Scores, scores: Scores) -> Scores:
    """Return what `scores` `(n,)` are worth on a scale: what those who score alike are worth there on average.

    `scale` and `both` `(m,)`, none below 0, are two scores of the same candidates; of whom `both` says 0, nothing was
    said, and they do not count. With f the function that minimizes

        sum over candidates of (scale - f(both))²   among all that never fall

    (isotonic regression: Ayer et al. 1955), which is constant on blocks, what is told is linear between the middles of
    the blocks (mean of `both`, mean of `scale`), from (0, 0) to the first, and constant after the last. So a greater
    score is never told as a lower value, all lies within `[0, max scale]`, where the two scores have nothing to do with
    each other everybody gets about the mean, and the unit of `both` and `scores` makes no difference.
    """
    said = both > 0
    points, same, counts = np.unique(both[said], return_inverse=True, return_counts=True)
    sums = np.bincount(same, scale[said], len(points)).astype(np.float64)
    middles, levels = _blocks(points.astype(np.float64) * counts, sums, counts)
    at, told = np.concatenate([[0.0], middles]), np.concatenate([[0.0], levels])
    return np.interp(scores, at, told).astype(np.float32)


def _blocks(
    places: NDArray[np.float64], values: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of places and values over the blocks on which isotonic regression is constant.

    Given are sums of points in ascending order, and how many each is. Neighbours whose values do not rise are in one
    block of the solution, so all such runs are pooled at once, until there is none.
    """
    while True:
        means = values / counts
        starts = np.flatnonzero(np.concatenate([means[:1] > -np.inf, means[1:] > means[:-1]]))
        if len(starts) == len(means):
            return places / counts, means
        places, values, counts = (np.add.reduceat(one, starts) for one in (places, values, counts))

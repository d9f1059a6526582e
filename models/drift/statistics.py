"""How far apart two distributions are, less what is expected of samples of one distribution by chance.

Each measure has an expectation above zero for samples of the same distribution, the larger the smaller they are. It is
subtracted, so that a small window is not taken for a changed one; what is left is around zero where nothing changed.
With 1/n + 1/N written as s, for n rows now and N of the reference:

- Population stability index: sum of (p - q) ln(p / q) over groups. For one distribution it is about s times chi-squared
  with groups - 1 degrees of freedom: expectation (groups - 1) s, deviation s sqrt(2 (groups - 1)) (B. Yurdakul,
  Statistical Properties of Population Stability Index, Western Michigan University, 2018, chapter 3).
- Kolmogorov-Smirnov distance: the largest difference of the cumulative shares. Expectation sqrt(pi / 2) ln 2 sqrt(s),
  deviation 0.26 sqrt(s) (G. Marsaglia et al., Evaluating Kolmogorov's Distribution, 2003: the limiting distribution).
- Shift of a mean of vectors: the squared distance of the means, over the total variance. Expectation s, deviation
  s sqrt(2 tr(S^2)) / tr(S), as for the quadratic form of a normal vector with covariance s S.
"""

import math
from collections.abc import Sequence

import numpy as np

from models.drift.distributions import Floats

GROUPS = 10
_OF_ITS_OWN = 0.5  # a bin with this share of the rows is a group, whatever is beside it
_KOLMOGOROV_MEAN = math.sqrt(math.pi / 2.0) * math.log(2.0)
_ENOUGH = 0.95  # of a tenth: bins of a fiftieth are a little less or more
_HALF = 0.5  # added to each group: an empty one would make the index infinite


def population_stability(reference: Floats, now: Floats) -> float:
    """Return the population stability index of two arrays of counts of the same groups, less its expectation.

    Not below 0. By convention 0.1 is worth a look and 0.25 is another distribution.
    """
    there = (reference + now) > 0
    before, live = reference[there], now[there]
    if not before.sum() or not live.sum():
        return math.nan
    groups, noise = len(before), float(1.0 / before.sum() + 1.0 / live.sum())
    p = (live + _HALF) / (live.sum() + _HALF * groups)
    q = (before + _HALF) / (before.sum() + _HALF * groups)
    return max(0.0, float(((p - q) * np.log(p / q)).sum()) - (groups - 1) * noise)


def kolmogorov_smirnov(reference: Floats, now: Floats) -> float:
    """Return the Kolmogorov-Smirnov distance of two arrays of counts of the same ordered bins, less its expectation.

    Not below 0; too small by what happens within a bin.
    """
    n, before = now.sum(), reference.sum()
    if not n or not before:
        return math.nan
    distance = np.abs(np.cumsum(now) / n - np.cumsum(reference) / before).max()
    return max(0.0, float(distance) - _KOLMOGOROV_MEAN * math.sqrt(1.0 / n + 1.0 / before))


def mean_shift(before: Floats, before_rows: float, now: Floats, rows: float, spread: float) -> float:
    """Return how far a mean of vectors moved, in standard deviations of the vectors, less what is noise.

    `before` and `now` `(D,)` are means; `spread` the total variance of the reference.
    """
    if not rows or not before_rows or spread <= 0.0:
        return math.nan
    moved = float(np.square(now - before).sum()) / spread
    return math.sqrt(max(0.0, moved - (1.0 / rows + 1.0 / before_rows)))


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine of two vectors; NaN where one has no length."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0.0 else math.nan


def group_starts(counts: Floats) -> list[int]:
    """Return where groups of ordered bins begin, so that each has about a tenth of the reference.

    A bin with half of the rows or more is a group of its own, so that values below and above it stay apart from it.
    """
    total = float(counts.sum())
    starts, sums = [0], [0.0]
    for place, count in enumerate(counts):
        alone = count >= _OF_ITS_OWN * total
        if place > starts[-1] and (alone or sums[-1] >= _ENOUGH * total / GROUPS):
            starts.append(place)
            sums.append(0.0)
        sums[-1] += count
    several = len(starts) > 1 and sums[-2] < _OF_ITS_OWN * total
    if several and sums[-1] < 0.5 * total / GROUPS:  # what is left over belongs to the last
        starts.pop()
    return starts


def grouped(counts: Floats, starts: Sequence[int]) -> Floats:
    """Return the counts of groups of bins."""
    return np.add.reduceat(counts, starts)

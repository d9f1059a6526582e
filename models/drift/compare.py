"""One feature then and now: how far apart, what moved most, and a verdict."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.drift.distributions import Categories, Distribution, Floats, Numbers, Vectors
from models.drift.reference import Feature, Kind
from models.drift.statistics import (
    cosine,
    group_starts,
    grouped,
    kolmogorov_smirnov,
    mean_shift,
    population_stability,
)

Verdict = Literal["too-few", "same", "watch", "drift"]

PSI_WATCH, PSI_DRIFT = 0.1, 0.25
KS_WATCH, KS_DRIFT = 0.1, 0.2
SHIFT_WATCH, SHIFT_DRIFT = 0.25, 0.4
LEAST_ROWS = 300
"""Rows without which there is no verdict: from here on the limits are at least six deviations of the noise away."""

_RARE = 0.01  # categories with a smaller share of the reference count as one


@dataclass(frozen=True)
class Comparison:
    """A feature of the reference beside the rows of a window. NaN is unknown, None does not apply.

    `psi` of vectors is the highest of their distance and directions. `ks` is of numbers, `shift` (in standard
    deviations) and `cosine` (of the two means) of vectors. `missing` are shares of rows. `moved` says in words what
    changed most.
    """

    kind: Kind
    name: str
    source: str
    rows: int
    reference_rows: int
    psi: float
    ks: float | None
    shift: float | None
    cosine: float | None
    missing: float
    missing_before: float
    moved: str
    verdict: Verdict


def compare(feature: Feature, now: Floats, *, least: int = LEAST_ROWS) -> Comparison:
    """Compare the tally of a window with that of the reference. With fewer than `least` rows measures are NaN."""
    distribution = feature.distribution
    counts, before = _counts(distribution, now), _counts(distribution, feature.tally)
    rows, reference_rows = counts.sum(), before.sum()
    missing, missing_before = (float(one[-1] / one.sum()) if one.sum() else math.nan for one in (counts, before))
    psi, ks, shift, angle, moved = math.nan, None, None, None, ""
    if rows >= least:
        match distribution:
            case Numbers():
                psi, moved = _numbers_apart(distribution, before, counts)
                known = counts[:-1].sum()
                ks = kolmogorov_smirnov(before[:-1], counts[:-1]) if known >= least / 2 else math.nan
            case Categories():
                psi, moved = _categories_apart(distribution, before, counts)
            case Vectors():
                psi, shift, angle, moved = _vectors_apart(distribution, feature.tally, now, least)
    verdict = _verdict(psi, ks, shift)
    return Comparison(
        feature.kind,
        feature.name,
        feature.source,
        int(rows),
        int(reference_rows),
        psi,
        ks,
        shift,
        angle,
        missing,
        missing_before,
        moved if verdict in ("watch", "drift") else "",
        verdict,
    )


def _verdict(psi: float, ks: float | None, shift: float | None) -> Verdict:
    if math.isnan(psi):
        return "too-few"
    measures = ((psi, PSI_WATCH, PSI_DRIFT), (ks, KS_WATCH, KS_DRIFT), (shift, SHIFT_WATCH, SHIFT_DRIFT))
    if any(value is not None and value > limit for value, _, limit in measures):
        return "drift"
    return "watch" if any(value is not None and value > limit for value, limit, _ in measures) else "same"


def _counts(distribution: Distribution, tally: Floats) -> Floats:
    """Return counts of all rows; the last is what is missing."""
    return distribution.parts(tally)[0][0] if isinstance(distribution, Vectors) else tally


def _numbers_apart(bins: Numbers, before: Floats, now: Floats) -> tuple[float, str]:
    starts = group_starts(before[:-1])
    groups = [np.append(grouped(counts[:-1], starts), counts[-1]) for counts in (before, now)]
    psi = population_stability(*groups)
    place, shares = _most_moved(*groups)
    if place == len(starts):
        return psi, f"missing {shares}"
    low = bins.edges[starts[place] - 1] if starts[place] else -math.inf
    high = bins.edges[starts[place + 1] - 1] if place + 1 < len(starts) else math.inf
    return psi, f"{_interval(float(low), float(high))} {shares}"


def _interval(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:.4g}" if math.isfinite(high) else "any"
    return f"{low:.4g} and more" if math.isinf(high) else f"{low:.4g} to {high:.4g}"


def _categories_apart(known: Categories, before: Floats, now: Floats) -> tuple[float, str]:
    names = (*known.names, "others", "unknown")
    common = before[:-2] >= _RARE * before.sum()
    groups = [
        np.concatenate([one[:-2][common], [one[:-2][~common].sum() + one[-2]], one[-1:]]) for one in (before, now)
    ]
    place, shares = _most_moved(before, now)
    return population_stability(*groups), f"{names[place]} {shares}"


def _vectors_apart(vectors: Vectors, before: Floats, now: Floats, least: int) -> tuple[float, float, float, str]:
    """Return the highest index of distance and directions, the shift of the mean, the cosine of means, and words."""
    (parts_before, known_before, sum_before), (parts, known, total) = vectors.parts(before), vectors.parts(now)
    indexes, words = [], []
    for bins, one, other in zip(vectors.coordinates, parts_before, parts, strict=True):
        psi, moved = _numbers_apart(bins, one, other)
        indexes.append(psi)
        words.append(moved)
    if known < least / 2:  # so few vectors are there that only their being missing says anything
        return indexes[0], math.nan, math.nan, words[0]
    highest = int(np.argmax(indexes))
    what = "distance to the mean" if highest == 0 else f"direction {highest}"
    means = sum_before / known_before, total / known
    shift = mean_shift(means[0], known_before, means[1], known, vectors.spread)
    return indexes[highest], shift, cosine(*means), f"{what}: {words[highest]}"


def _most_moved(before: Floats, now: Floats) -> tuple[int, str]:
    """Return which group's share changed most, and from what to what."""
    p, q = now / now.sum(), before / before.sum()
    place = int(np.argmax(np.abs(p - q)))
    return place, f"{q[place]:.1%} → {p[place]:.1%}"

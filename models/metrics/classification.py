"""Measuring scores against yes/no labels: ROC and precision-recall curves, their areas, thresholds, calibration.

Ties count half in the area under the ROC curve (Mann-Whitney) and are one point of the curves. The area under the
precision-recall curve is average precision, which does not interpolate (Davis and Goadrich 2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]
_UNDEFINED = float("nan")


@dataclass(frozen=True)
class Curves:
    """Every threshold at which anything changes, from the strictest to the laxest, and what it gives."""

    thresholds: Floats
    true_positive_rate: Floats  # recall
    false_positive_rate: Floats
    precision: Floats


@dataclass(frozen=True)
class ReliabilityBin:
    """Scores of one bin: how many, their mean, and the share that is true."""

    low: float
    high: float
    count: int
    mean_score: float
    share_true: float


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise InvalidInput(f"labels {truth.shape} and scores {values.shape} must be two lists of one length")
    if not np.isfinite(values).all():
        raise InvalidInput("scores must be finite numbers")
    return truth.astype(bool), values


def curves(labels: ArrayLike, scores: ArrayLike) -> Curves:
    """Return the ROC and precision-recall curves; both sides must have an example, else rates are NaN."""
    truth, values = _checked(labels, scores)
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], truth[order]
    last = np.flatnonzero(np.diff(ranked, append=-np.inf))  # the last of each run of equal scores
    true, seen = np.cumsum(hits)[last].astype(np.float64), (last + 1).astype(np.float64)
    positives, negatives = float(truth.sum()), float((~truth).sum())
    return Curves(
        thresholds=ranked[last],
        true_positive_rate=true / positives if positives else np.full(len(last), _UNDEFINED),
        false_positive_rate=(seen - true) / negatives if negatives else np.full(len(last), _UNDEFINED),
        precision=true / seen,
    )


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a true example scores above a false one; NaN where there are none of one side."""
    truth, values = _checked(labels, scores)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return _UNDEFINED
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2.0)[inverse]  # mean rank of each run of equal scores, from 1
    return float((ranks[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def pr_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return average precision: Σ (recall_i - recall_i-1) · precision_i; NaN where nothing is true.

    Scoring by chance gives the share of true examples.
    """
    found = curves(labels, scores)
    if not len(found.thresholds) or not np.isfinite(found.true_positive_rate).all():
        return _UNDEFINED
    steps = np.diff(found.true_positive_rate, prepend=0.0)
    return float((steps * found.precision).sum())


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    metric: Callable[[NDArray[np.bool_], Floats], float],
    *,
    groups: Sequence[int] | None = None,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of a metric over examples, or over whole `groups` of like ones.

    Resamples in which the metric is not defined are left out; (NaN, NaN) where it never is.
    """
    truth, values = _checked(labels, scores)
    generator = np.random.default_rng(seed)
    members: list[NDArray[np.int64]] | None = None
    if groups is not None:
        numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
        members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    found = []
    for _ in range(resamples):
        if members is None:
            rows = generator.integers(0, len(truth), len(truth))
        else:
            rows = np.concatenate([members[pick] for pick in generator.integers(0, len(members), len(members))])
        value = metric(truth[rows], values[rows])
        if np.isfinite(value):
            found.append(value)
    if not found:
        return _UNDEFINED, _UNDEFINED
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Return the bins of a reliability diagram that hold anything; bins are of equal width."""
    truth, values = _checked(labels, probabilities)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise InvalidInput("probabilities must lie between 0 and 1")
    places = np.minimum((values * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(
            place / bins,
            (place + 1) / bins,
            int((places == place).sum()),
            float(values[places == place].mean()),
            float(truth[places == place].mean()),
        )
        for place in range(bins)
        if (places == place).any()
    ]


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> float:
    """Return ECE: the mean distance between score and share of true ones over the bins (Naeini et al. 2015)."""
    found = reliability(labels, probabilities, bins=bins)
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.mean_score - one.share_true) for one in found) / total if total else _UNDEFINED


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance between probability and label."""
    truth, values = _checked(labels, probabilities)
    return float(np.mean((values - truth) ** 2)) if values.size else _UNDEFINED


def threshold_for_precision(labels: ArrayLike, scores: ArrayLike, precision: float) -> float:
    """Return the lowest threshold whose precision is at least this; NaN where none reaches it."""
    found = curves(labels, scores)
    good = np.flatnonzero(found.precision >= precision)
    return float(found.thresholds[good[-1]]) if good.size else _UNDEFINED


def at_threshold(labels: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, float]:
    """Return precision, recall, F1 and the false positive rate of `score >= threshold`; NaN where undefined."""
    truth, values = _checked(labels, scores)
    flagged = values >= threshold
    true = float((flagged & truth).sum())
    precision = true / flagged.sum() if flagged.any() else _UNDEFINED
    recall = true / truth.sum() if truth.any() else _UNDEFINED
    return {
        "flagged": float(flagged.sum()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(2 * true / (flagged.sum() + truth.sum())) if flagged.any() or truth.any() else _UNDEFINED,
        "false_positive_rate": float((flagged & ~truth).sum() / (~truth).sum()) if (~truth).any() else _UNDEFINED,
    }

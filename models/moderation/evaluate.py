"""Measuring scores against labels: per class and part, with intervals, thresholds and calibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.metrics.classification import (
    at_threshold,
    bootstrap_interval,
    brier_score,
    expected_calibration_error,
    pr_auc,
    roc_auc,
    threshold_for_precision,
)
from models.moderation.calibration import PlattCalibration, fit_isotonic, fit_temperature
from models.moderation.data import PARTS, HarmTexts
from models.moderation.logistic import sigmoid

Floats = NDArray[np.float64]
LEAST = 5  # examples of each side without which an area is not given
READINGS = ("any score", "against others")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class ClassFigures:
    """One class on one set of examples. `chance` is the share of harmful ones, which is the PR area of guessing."""

    examples: int
    harmful: int
    roc: float | None
    roc_interval: tuple[float, float] | None
    pr: float | None
    pr_interval: tuple[float, float] | None

    @property
    def chance(self) -> float:
        return self.harmful / self.examples if self.examples else math.nan


def class_figures(
    scores: Floats,
    targets: NDArray[np.float32],
    *,
    groups: NDArray[np.int64] | None = None,
    intervals: bool = True,
) -> ClassFigures:
    """Measure scores `(n,)` of one class against targets `(n,)`: harmful from one half, NaN left out."""
    known = np.isfinite(targets) & np.isfinite(scores)
    truth, values = targets[known] >= 0.5, scores[known]
    harmful = int(truth.sum())
    if min(harmful, len(truth) - harmful) < LEAST:
        return ClassFigures(len(truth), harmful, None, None, None, None)
    chosen = None if groups is None else groups[known].tolist()
    return ClassFigures(
        examples=len(truth),
        harmful=harmful,
        roc=roc_auc(truth, values),
        roc_interval=bootstrap_interval(truth, values, roc_auc, groups=chosen) if intervals else None,
        pr=pr_auc(truth, values),
        pr_interval=bootstrap_interval(truth, values, pr_auc, groups=chosen) if intervals else None,
    )


def by_class(
    scores: Floats, targets: NDArray[np.float32], *, groups: NDArray[np.int64] | None = None, intervals: bool = True
) -> dict[str, ClassFigures]:
    """Measure every class `(n, 5)`; classes without a label are left out."""
    return {
        harm: class_figures(scores[:, place], targets[:, place], groups=groups, intervals=intervals)
        for place, harm in enumerate(HARM_CLASSES)
        if np.isfinite(targets[:, place]).any()
    }


def by_part(
    data: HarmTexts, scores: Floats, *, parts: Sequence[str] = tuple(PARTS), intervals: bool = True
) -> dict[str, dict[str, ClassFigures]]:
    """Measure every class within each judged part, and over all texts (`all`)."""
    found = {"all": by_class(scores, data.targets, groups=data.groups, intervals=intervals)}
    for part in parts:
        rows = data.of(part)
        if rows.any():
            found[part] = by_class(scores[rows], data.targets[rows], groups=data.groups[rows], intervals=intervals)
    return found


def by_reading(data: HarmTexts, scores: Floats, *, intervals: bool = True) -> dict[str, dict[str, ClassFigures]]:
    """Measure the scored answers by other readings of their labels: each gives other areas for the same scores.

    `any score`: harmful from the first person who said so. `against others`: answers scored for one class are harmless
    in every other, so that telling what an answer is about is enough for most pairs.
    """
    rows = data.of("pyrit")
    targets, values, groups = data.targets[rows], scores[rows], data.groups[rows]
    any_score = np.where(np.isfinite(targets), (targets > 0).astype(np.float32), np.nan).astype(np.float32)
    others = np.nan_to_num(targets)
    return {
        name: by_class(values, chosen, groups=groups, intervals=intervals)
        for name, chosen in ((READINGS[0], any_score), (READINGS[1], others))
        if rows.any()
    }


def calibration_figures(data: HarmTexts, logits: Floats, folds: NDArray[np.int64]) -> dict[str, Any]:
    """Compare ways of calibrating, each fitted on the other folds' held-out logits: ECE and Brier score a class.

    `none` is the sigmoid of the raw logit.
    """
    out: dict[str, Any] = {}
    for place, harm in enumerate(HARM_CLASSES):
        values, targets = logits[:, place], data.targets[:, place]
        known = np.isfinite(targets)
        if min((targets[known] >= 0.5).sum(), (targets[known] < 0.5).sum()) < 2 * LEAST:
            continue
        ways = {name: np.zeros(len(values)) for name in ("none", "temperature", "platt", "isotonic")}
        for fold in np.unique(folds):
            learned, held = (folds != fold) & known, folds == fold
            ways["none"][held] = sigmoid(values[held])
            ways["temperature"][held] = sigmoid(values[held] * fit_temperature(values[learned], targets[learned]))
            platt = _fit_one_platt(values[learned], targets[learned])
            ways["platt"][held] = platt.apply(values[held, None])[:, 0]
            ways["isotonic"][held] = fit_isotonic(values[learned], targets[learned]).apply(values[held])
        truth = targets[known] >= 0.5
        out[harm] = {
            name: {
                "ece": expected_calibration_error(truth, probabilities[known]),
                "brier": brier_score(truth, probabilities[known]),
            }
            for name, probabilities in ways.items()
        }
    return out


def threshold_table(probabilities: Floats, targets: NDArray[np.float32]) -> dict[str, dict[str, Any]]:
    """Return, by class, what each threshold gives, and the lowest ones with a precision of .9, .95 and .99."""
    table: dict[str, dict[str, Any]] = {}
    for place, harm in enumerate(HARM_CLASSES):
        known = np.isfinite(targets[:, place]) & np.isfinite(probabilities[:, place])
        truth, values = targets[known, place] >= 0.5, probabilities[known, place]
        if not truth.any():
            continue
        table[harm] = {
            "thresholds": {f"{threshold:g}": at_threshold(truth, values, threshold) for threshold in THRESHOLDS},
            "for_precision": {
                f"{wanted:g}": threshold_for_precision(truth, values, wanted) for wanted in (0.9, 0.95, 0.99)
            },
        }
    return table


def false_positives(probabilities: Floats, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the share of benign texts scored from 0.5 and from 0.9 on, by class, and by each grouping in `labels`."""
    worst = probabilities.max(axis=1)
    return {
        "texts": len(worst),
        "any": _shares(worst),
        "classes": {harm: _shares(probabilities[:, place]) for place, harm in enumerate(HARM_CLASSES)},
        "by": {
            name: {
                value: {"texts": int((np.array(values) == value).sum()), **_shares(worst[np.array(values) == value])}
                for value in sorted(set(values))
            }
            for name, values in labels.items()
        },
    }


def as_plain(found: Any) -> Any:
    """Return figures as JSON can hold them: NaN becomes None."""
    if isinstance(found, ClassFigures):
        return as_plain(asdict(found))
    if isinstance(found, Mapping):
        return {str(name): as_plain(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [as_plain(value) for value in found]
    if isinstance(found, float | np.floating):
        return round(float(found), 4) if math.isfinite(found) else None
    if isinstance(found, np.integer):
        return int(found)
    return found


def _shares(values: Floats) -> dict[str, float]:
    return {
        "from_0.5": float((values >= 0.5).mean()) if len(values) else math.nan,
        "from_0.9": float((values >= 0.9).mean()) if len(values) else math.nan,
        "highest": float(values.max()) if len(values) else math.nan,
    }


def _fit_one_platt(values: Floats, targets: NDArray[np.float32]) -> PlattCalibration:
    from models.moderation.calibration import fit_platt

    return fit_platt(values[:, None], targets[:, None])

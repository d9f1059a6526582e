"""Pictures of an evaluation: precision-recall and ROC curves, and reliability, a file a class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.metrics.classification import curves, expected_calibration_error, pr_auc, reliability, roc_auc

_INK, _GREY, _BLUE, _ORANGE = "#222222", "#9a9a9a", "#2b6cb0", "#c05621"
_LEAST = 5  # examples of each side without which there is nothing to draw


def plot_classes(
    scores: NDArray[np.float64],
    targets: NDArray[np.float32],
    folder: Path,
    *,
    others: Mapping[str, NDArray[np.float64]] | None = None,
    title: str = "",
) -> dict[str, Path]:
    """Write `<class>.png` for each class with enough examples of both sides; return the files by class.

    `others` are scores `(n, 5)` of other models, drawn thin beside the curves; they need not be probabilities.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for place, harm in enumerate(HARM_CLASSES):
        known = np.isfinite(targets[:, place]) & np.isfinite(scores[:, place])
        truth, values = targets[known, place] >= 0.5, scores[known, place]
        if min(truth.sum(), (~truth).sum()) < _LEAST:
            continue
        beside = {name: other[known, place] for name, other in (others or {}).items()}
        beside = {name: other for name, other in beside.items() if np.isfinite(other).all()}
        path = folder / f"{harm}.png"
        _figure(harm, truth, values, beside, title).savefig(path, dpi=110)
        written[harm] = path
    return written


def _figure(
    harm: str,
    truth: NDArray[np.bool_],
    values: NDArray[np.float64],
    beside: Mapping[str, NDArray[np.float64]],
    title: str,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    precision, roc, calibration = figure.subplots(1, 3)
    name = harm.replace("_", "-")
    figure.suptitle(
        f"{name}: {int(truth.sum())} harmful of {len(truth)}{f' ({title})' if title else ''}", color=_INK, fontsize=12
    )
    for label, other in beside.items():
        found = curves(truth, other)
        precision.step(
            found.true_positive_rate,
            found.precision,
            where="post",
            color=_ORANGE,
            lw=0.9,
            label=f"{label} {pr_auc(truth, other):.3f}",
        )
        roc.plot(
            [0, *found.false_positive_rate],
            [0, *found.true_positive_rate],
            color=_ORANGE,
            lw=0.9,
            label=f"{label} {roc_auc(truth, other):.3f}",
        )
    found = curves(truth, values)
    precision.step(
        found.true_positive_rate,
        found.precision,
        where="post",
        color=_BLUE,
        lw=1.8,
        label=f"model {pr_auc(truth, values):.3f}",
    )
    chance = float(truth.mean())
    precision.axhline(chance, color=_GREY, lw=1, ls="--", label=f"chance {chance:.3f}")
    precision.set(xlabel="recall", ylabel="precision", title="precision and recall (area)", xlim=(0, 1), ylim=(0, 1.02))
    roc.plot(
        [0, *found.false_positive_rate],
        [0, *found.true_positive_rate],
        color=_BLUE,
        lw=1.8,
        label=f"model {roc_auc(truth, values):.3f}",
    )
    roc.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--", label="chance 0.500")
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (area)", xlim=(0, 1), ylim=(0, 1.02))
    _reliability(calibration, truth, values)
    for axes in (precision, roc):
        axes.legend(loc="lower left" if axes is precision else "lower right", frameon=False, fontsize=9)
    for axes in (precision, roc, calibration):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
        axes.title.set_fontsize(10)
    return figure


def _reliability(axes: Any, truth: NDArray[np.bool_], values: NDArray[np.float64]) -> None:
    bins = reliability(truth, values)
    most = max(one.count for one in bins)
    for one in bins:
        axes.bar((one.low + one.high) / 2, 0.18 * one.count / most, width=0.09, color=_GREY, alpha=0.45)
    axes.plot([one.mean_score for one in bins], [one.share_true for one in bins], "o-", color=_BLUE, lw=1.5, ms=5)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
    for one in bins:
        axes.annotate(str(one.count), ((one.low + one.high) / 2, 0.0), ha="center", va="bottom", fontsize=7, color=_INK)
    axes.set(
        xlabel="probability said",
        ylabel="share that is harmful",
        title=f"reliability (expected calibration error {expected_calibration_error(truth, values):.3f})",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )

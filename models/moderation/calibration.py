"""From a network's logits to probabilities that mean what they say, one class at a time, fitted on held-out logits.

Three ways: temperature (one number), Platt scaling (two), isotonic regression (a staircase). Guo et al. 2017, On
Calibration of Modern Neural Networks, arXiv 1706.04599; Platt 1999; Zadrozny and Elkan 2002.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.moderation.logistic import sigmoid

Floats = NDArray[np.float64]
_LEAST = 10  # examples of each side without which a class is left as it is


@dataclass(frozen=True)
class PlattCalibration:
    """`p = sigmoid(scale · logit + shift)` for each class; `fitted` tells where there were enough examples."""

    scale: Sequence[float]
    shift: Sequence[float]
    fitted: Sequence[bool]

    def apply(self, logits: Floats) -> Floats:
        """Return probabilities `(n, classes)`."""
        return sigmoid(logits * np.asarray(self.scale) + np.asarray(self.shift))


def fit_platt(logits: Floats, targets: NDArray[np.float32]) -> PlattCalibration:
    """Fit scale and shift of each class on the examples that have a label `(n, classes)`; soft labels will do."""
    fits = [_platt(logits[:, place], targets[:, place]) for place in range(logits.shape[1])]
    return PlattCalibration([f[0] for f in fits], [f[1] for f in fits], [f[2] for f in fits])


def _platt(logits: Floats, targets: NDArray[np.float32]) -> tuple[float, float, bool]:
    known = np.isfinite(targets) & np.isfinite(logits)
    values, wanted = logits[known], targets[known].astype(np.float64)
    positive = float((wanted >= 0.5).sum())
    if min(positive, len(wanted) - positive) < _LEAST:
        return 1.0, 0.0, False
    # Platt's targets: (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that separable classes get finite weights.
    high, low = (positive + 1) / (positive + 2), 1 / (len(wanted) - positive + 2)
    wanted = low + wanted * (high - low)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale = np.exp(parameters[0])  # positive: calibration never turns an order round
        z = scale * values + parameters[1]
        p = sigmoid(z)
        value = float(np.mean(np.logaddexp(0.0, z) - wanted * z))
        gradient = np.array([np.mean((p - wanted) * values) * scale, np.mean(p - wanted)])
        return value, gradient

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-4.0, 4.0), (-20.0, 20.0)])
    return float(np.exp(found.x[0])), float(found.x[1]), True


def fit_temperature(logits: Floats, targets: NDArray[np.float32]) -> float:
    """Return the 1 / temperature that minimises the cross-entropy of one class's logits `(n,)`."""
    known = np.isfinite(targets)
    values, wanted = logits[known], targets[known].astype(np.float64)

    def loss(parameters: Floats) -> float:
        z = np.exp(parameters[0]) * values
        return float(np.mean(np.logaddexp(0.0, z) - wanted * z))

    found = minimize(loss, np.zeros(1), method="L-BFGS-B", bounds=[(-4.0, 4.0)])
    return float(np.exp(found.x[0]))


@dataclass(frozen=True)
class IsotonicCalibration:
    """A staircase: `levels[i]` is the probability of logits up to `edges[i]` (linear between them)."""

    edges: Floats
    levels: Floats

    def apply(self, logits: Floats) -> Floats:
        """Return probabilities `(n,)`."""
        values: Floats = np.interp(logits, self.edges, self.levels)
        return values


def fit_isotonic(logits: Floats, targets: NDArray[np.float32]) -> IsotonicCalibration:
    """Fit the non-decreasing function nearest to the labels of one class `(n,)` (pool adjacent violators)."""
    known = np.isfinite(targets)
    order = np.argsort(logits[known], kind="stable")
    values, wanted = logits[known][order], targets[known][order].astype(np.float64)
    blocks: list[list[float]] = []  # sum of labels, count, sum of logits
    for logit, label in zip(values, wanted, strict=True):
        blocks.append([float(label), 1.0, float(logit)])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    edges = np.array([block[2] / block[1] for block in blocks])
    levels = np.array([block[0] / block[1] for block in blocks])
    return IsotonicCalibration(edges, levels)

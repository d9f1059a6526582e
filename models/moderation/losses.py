"""Losses of the multi-task network: binary cross-entropy, focal, class-balanced; all skip labels that nobody gave."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import InvalidInput

LossName = Literal["cross-entropy", "focal", "class-balanced"]
LOSSES: tuple[LossName, ...] = ("cross-entropy", "focal", "class-balanced")


@dataclass(frozen=True)
class LossConfig:
    """`gamma` of the focal loss (Lin et al. 2017, arXiv 1708.02002); `beta` of the class-balanced one (Cui et al. 2019,
    arXiv 1901.05555)."""

    name: LossName = "cross-entropy"
    gamma: float = 2.0
    beta: float = 0.999

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise InvalidInput(f"there is no loss {self.name!r}; there are {', '.join(LOSSES)}")
        if self.gamma < 0 or not 0 <= self.beta < 1:
            raise InvalidInput(f"gamma must be at least 0 and beta in [0, 1), got {self.gamma} and {self.beta}")


def effective_number_weights(targets: NDArray[np.float32], beta: float) -> NDArray[np.float32]:
    """Return weights `(classes, 2)` of no-harm and harm: (1 - beta) / (1 - beta^n), scaled so that they average to 1.

    `targets` `(n, classes)` may be soft; NaN counts for neither side.
    """
    known = np.isfinite(targets)
    harmful = np.where(known, targets, 0.0).sum(axis=0)
    counts = np.stack([known.sum(axis=0) - harmful, harmful], axis=1)
    weights = (1.0 - beta) / (1.0 - np.power(beta, np.maximum(counts, 1.0)))
    scaled: NDArray[np.float32] = (2.0 * weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return scaled


def task_losses(
    logits: Tensor, targets: Tensor, config: LossConfig, *, balance: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return one loss a class `(classes,)`: the weighted mean over the examples that have a label for it.

    Args:
        logits: `(B, classes)`.
        targets: `(B, classes)` in [0, 1]; NaN where nobody said anything.
        balance: `(classes, 2)` of `effective_number_weights`, for the class-balanced loss.
        weights: `(B,)` of the examples.
    """
    known = torch.isfinite(targets)
    wanted = torch.where(known, targets, torch.zeros_like(targets))
    values = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if config.name == "focal":
        chances = torch.sigmoid(logits)
        # With soft labels: |target - p|^gamma, which is (1 - p_t)^gamma for labels of 0 and 1.
        values = values * (wanted - chances).abs().pow(config.gamma)
    if config.name == "class-balanced" and balance is not None:
        values = values * (wanted * balance[:, 1] + (1 - wanted) * balance[:, 0])
    share = known.to(values.dtype)
    if weights is not None:
        share = share * weights.unsqueeze(1)
    losses: Tensor = (values * share).sum(dim=0) / share.sum(dim=0).clamp_min(1e-6)
    return losses

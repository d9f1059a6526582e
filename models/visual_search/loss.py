"""The contrastive loss: similarities, divided by a temperature, through a softmax, against the true pair."""

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(
    left: Tensor, right: Tensor, *, temperature: float, weights: Tensor, concepts: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the symmetric InfoNCE loss over in-batch negatives (https://arxiv.org/abs/1807.03748, as in CLIP).

    Row i of `left` and row i of `right` (each `(B, D)`, length 1) are a positive pair of importance `weights[i]`; every
    other row of the other side is a negative, unless it shows the same concept (`(B,)` ids per side).
    """
    logits = left @ right.T / temperature  # (B, B)
    same = concepts[0][:, None] == concepts[1][None, :]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, float("-inf"))
    targets = torch.arange(len(left), device=left.device)
    rows = functional.cross_entropy(logits, targets, reduction="none")
    columns = functional.cross_entropy(logits.T, targets, reduction="none")
    return ((rows + columns) / 2 * weights).sum() / weights.sum()

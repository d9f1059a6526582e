"""Fitting how networks are tempered, on opinions of experts that did not see the text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.moderation.baselines import LogisticHeads
from models.moderation.experts import HEADS, LIKE, opinion_count
from models.moderation.stacking import fit_stack
from models.moderation.tempering import Tempering

Floats = NDArray[np.float32]
_HEADS_SHARE = 2 / 3
_STRENGTH = 10.0  # two numbers a class: hardly a penalty


def fit_tempering(
    opinions: Floats, targets: Floats, chances: Floats, experts: Sequence[str], outputs: Sequence[str], *, soft: bool
) -> Tempering:
    """Fit the stack, and scale and shift of the experts' plain vote, both as `fit_stack` takes its arguments.

    A class that has no heads (too few examples) is left to the stack everywhere.
    """
    stack = fit_stack(opinions, targets, chances, experts, outputs, soft=soft).weight
    outside = np.zeros((len(outputs), opinion_count(experts)), np.float32)
    for place, output in enumerate(outputs):
        votes = _votes(experts, output)
        heads = LogisticHeads(strength=_STRENGTH, soft=soft)
        vote = opinions[:, : len(experts)] @ votes[:, None]
        fitted = heads.fit(vote, targets[:, [place]], chances / chances.mean()).weights[0] if votes.any() else None
        if fitted is None:
            outside[place] = stack[place]
        else:
            outside[place, : len(experts)], outside[place, -1] = fitted[0] * votes, fitted[1]
    return Tempering(tuple(experts), stack, outside)


def _votes(experts: Sequence[str], output: str) -> Floats:
    """Return how much each expert's standardised logit counts in the vote on a class; zeros without heads."""
    votes = np.zeros(len(experts), np.float32)
    others = [
        place
        for place, name in enumerate(experts)
        if name.endswith(f".{output}") and not name.startswith((LIKE, f"{HEADS}."))
    ]
    if f"{HEADS}.{output}" in experts:
        votes[others] = (1.0 - _HEADS_SHARE) / max(len(others), 1)
        votes[experts.index(f"{HEADS}.{output}")] = _HEADS_SHARE if others else 1.0
    return votes

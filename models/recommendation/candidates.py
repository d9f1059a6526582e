"""Candidates by several generators: what each proposes, and what that says to the ranker."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.feedback import PAD
from models.recommendation.recommender import Scores, best_items

PER_GENERATOR = 3  # proposed at all, its scaled score, its discounted rank


@dataclass(frozen=True, eq=False)
class Candidates:
    """The union of the generators' proposals for each user.

    `evidence` is what the ranker sees of them; a generator that was late or has nothing leaves zeros.
    """

    items: NDArray[np.int32]  # (B, C), PAD on the right
    evidence: NDArray[np.float32]  # (B, C, generators x PER_GENERATOR)


def evidence_of(
    lists: list[NDArray[np.int32]], scores: list[NDArray[np.float32]], items: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return what each generator says about one user's candidates `items` `(C,)`.

    `lists` holds each generator's proposals, best first, and `scores` their scores. Only what is in a list is used, so
    training and serving see the same, whatever is beyond the list's end.

    Returns:
        `(C, generators x PER_GENERATOR)`: 1 if it proposes the item; the score scaled to 0..1 over its list; and
        1 / log2(rank + 1).
    """
    if len(lists) != len(scores):
        raise InvalidInput(f"{len(lists)} lists of proposals and {len(scores)} lists of scores")
    out = np.zeros((len(items), len(lists) * PER_GENERATOR), np.float32)
    place_of = {int(item): place for place, item in enumerate(items) if item != PAD}
    for number, (proposed, values) in enumerate(zip(lists, scores, strict=True)):
        if not len(proposed):
            continue
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) / (high - low) if high > low else np.ones(len(values), np.float32)
        column = number * PER_GENERATOR
        for rank, item in enumerate(proposed):
            place = place_of.get(int(item))
            if place is not None:
                out[place, column : column + PER_GENERATOR] = (1.0, scaled[rank], 1 / np.log2(rank + 2))
    return out


def propose(scores: list[Scores], seen: NDArray[np.bool_], *, each: int) -> Candidates:
    """Return the union of the best `each` unseen items of every generator, from full score matrices `(B, I)`.

    A generator that gives all of a user's items one score (nobody can be compared) proposes nothing for them.
    """
    users, n_items = seen.shape
    each = min(each, n_items)
    proposed = np.zeros((users, n_items), bool)
    blocks = np.zeros((users, n_items, len(scores) * PER_GENERATOR), np.float32)
    rows = np.arange(users)[:, None]
    discount = (1 / np.log2(np.arange(each) + 2)).astype(np.float32)
    for number, matrix in enumerate(scores):
        masked = np.where(seen, -np.inf, matrix).astype(np.float32)
        best = best_items(masked, each)
        values = np.take_along_axis(masked, best, axis=1)
        usable = np.isfinite(values) & (np.ptp(matrix, axis=1) > 0)[:, None]
        finite = np.where(np.isfinite(values), values, np.nan)
        low = np.where(np.isnan(finite), np.inf, finite).min(axis=1, keepdims=True)
        spread = values[:, :1] - low
        scaled = np.divide(values - low, spread, out=np.ones_like(values), where=usable & (spread > 0))
        column = number * PER_GENERATOR
        blocks[rows, best, column] = usable
        blocks[rows, best, column + 1] = scaled * usable
        blocks[rows, best, column + 2] = discount * usable
        proposed[rows, best] |= usable
    counts = proposed.sum(axis=1)
    width = max(1, int(counts.max())) if users else 1
    order = np.argsort(~proposed, axis=1, kind="stable")[:, :width]
    items = np.where(np.arange(width) < counts[:, None], order, PAD).astype(np.int32)
    return Candidates(items, blocks[rows, order] * (items != PAD)[..., None])

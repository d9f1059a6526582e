"""Measures of recommended lists that are not about being right: coverage, novelty, diversity, and who is served how.

Lists are arrays of item places `(users, k)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.metrics.bootstrap import mean_interval

Lists = NDArray[np.int64]
Floats = NDArray[np.float64]


def coverage(lists: Lists, n_items: int) -> float:
    """Return the share of the catalogue that is in at least one list."""
    if n_items < 1:
        raise InvalidInput(f"a catalogue has at least one item, got {n_items}")
    return len(np.unique(lists)) / n_items


def novelty(lists: Lists, item_counts: NDArray[np.int64], n_users: int) -> Floats:
    """Return each list's mean self-information in bits, -log2 of the share of users who know the item `(users,)`.

    Zhou et al. 2010, https://doi.org/10.1073/pnas.1000488107. An item nobody knows counts as known to one half.
    """
    share = np.maximum(item_counts, 0.5) / max(1, n_users)
    return np.asarray(-np.log2(share)[lists].mean(axis=1), np.float64)


def average_pairwise_similarity(lists: Lists, vectors: NDArray[np.float32]) -> Floats:
    """Return each list's mean cosine over its pairs of items `(users,)`: low is diverse, as the chapter measures it.

    `vectors` `(items, D)` say what items are alike; one without a length is like no other. A list of one item is 0.
    """
    if lists.shape[1] < 2:
        return np.zeros(len(lists))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    chosen = unit[lists]  # (users, k, D)
    total = np.square(chosen.sum(axis=1)).sum(axis=1) - np.square(chosen).sum(axis=(1, 2))
    k = lists.shape[1]
    return np.asarray(total / (k * (k - 1)), np.float64)


@dataclass(frozen=True)
class GroupScore:
    """A metric's mean in one group of users, with its 95 % interval."""

    group: str
    users: int
    mean: float
    low: float
    high: float


def by_group(values: Floats, groups: Sequence[str], *, smallest: int = 10) -> list[GroupScore]:
    """Return the mean of per-user values in each group, the largest first; groups below `smallest` are one, `other`.

    A small group's mean says little and could say something about a person.
    """
    if len(values) != len(groups):
        raise InvalidInput(f"{len(values)} values and {len(groups)} groups")
    names, counts = np.unique(np.asarray(groups, dtype=object).astype(str), return_counts=True)
    large = set(names[counts >= smallest])
    label = np.asarray([group if group in large else "other" for group in groups])
    scores = []
    for name in dict.fromkeys(sorted(label, key=lambda name: (-int((label == name).sum()), name))):
        chosen = values[label == name]
        scores.append(GroupScore(str(name), len(chosen), float(chosen.mean()), *mean_interval(chosen)))
    return scores

"""Ranking metrics, as the book's chapter on visual search defines them ("Offline metrics").

Every function takes one output list as `relevance`: the graded relevance (0 to 5 in our judgements, any finite number
>= 0 here) of each item in the order the system ranked them. Where binary relevance is needed an item is relevant when
its grade is at least `threshold`. `total_relevant` and `ideal` exist because an output list may leave out relevant
items: unset, the list is taken to hold every judged item.

A query without a single relevant item has no defined recall, average precision or nDCG; these functions return 0.0 for
it, as trec_eval does, and `summarise` counts such queries so that nobody averages them away unseen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]


def _grades(relevance: ArrayLike) -> Floats:
    grades = np.asarray(relevance, dtype=np.float64)
    if grades.ndim != 1:
        raise InvalidInput(f"relevance must be one list of grades, got an array of shape {grades.shape}")
    if grades.size and (not np.isfinite(grades).all() or grades.min() < 0):
        raise InvalidInput("relevance grades must be finite numbers of at least 0")
    return grades


def _cut(k: int) -> int:
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}")
    return k


def reciprocal_rank(relevance: ArrayLike, *, threshold: float = 1.0) -> float:
    """Return 1 / rank of the first relevant item, ranks counted from 1; 0.0 if none is relevant."""
    found = np.flatnonzero(_grades(relevance) >= threshold)
    return 1.0 / (int(found[0]) + 1) if found.size else 0.0


def mean_reciprocal_rank(lists: Iterable[ArrayLike], *, threshold: float = 1.0) -> float:
    """Return MRR = (1/m) · Σ 1/rank_i over m output lists (0.0 for no lists)."""
    ranks = [reciprocal_rank(relevance, threshold=threshold) for relevance in lists]
    return float(np.mean(ranks)) if ranks else 0.0


def precision_at_k(relevance: ArrayLike, k: int, *, threshold: float = 1.0) -> float:
    """Return relevant items among the top k, divided by k (also where the list is shorter than k)."""
    return float((_grades(relevance)[: _cut(k)] >= threshold).sum() / k)


def recall_at_k(relevance: ArrayLike, k: int, *, threshold: float = 1.0, total_relevant: int | None = None) -> float:
    """Return relevant items among the top k, divided by all relevant items there are."""
    relevant = _grades(relevance) >= threshold
    total = int(relevant.sum()) if total_relevant is None else total_relevant
    return float(relevant[: _cut(k)].sum() / total) if total > 0 else 0.0


def hit_at_k(relevance: ArrayLike, k: int, *, threshold: float = 1.0) -> float:
    """Return 1.0 if at least one of the top k is relevant (also called success@k), else 0.0."""
    return float((_grades(relevance)[: _cut(k)] >= threshold).any())


def average_precision(
    relevance: ArrayLike, *, k: int | None = None, threshold: float = 1.0, total_relevant: int | None = None
) -> float:
    """Return AP = Σ_i precision@i · [item i is relevant] / (total relevant items).

    With `k`, the sum stops at rank k while the denominator stays, so items below it count against the list.
    """
    relevant = _grades(relevance) >= threshold
    total = int(relevant.sum()) if total_relevant is None else total_relevant
    if total == 0:
        return 0.0
    top = relevant if k is None else relevant[: _cut(k)]
    precisions = np.cumsum(top) / np.arange(1, len(top) + 1)
    return float(precisions[top].sum() / total)


def mean_average_precision(lists: Iterable[ArrayLike], *, k: int | None = None, threshold: float = 1.0) -> float:
    """Return mAP: the mean of `average_precision` over output lists (0.0 for no lists)."""
    values = [average_precision(relevance, k=k, threshold=threshold) for relevance in lists]
    return float(np.mean(values)) if values else 0.0


def dcg_at_k(relevance: ArrayLike, k: int | None = None) -> float:
    """Return DCG_p = Σ_{i=1..p} rel_i / log2(i + 1): linear gain, as in the book."""
    grades = _grades(relevance)
    top = grades if k is None else grades[: _cut(k)]
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def ndcg_at_k(relevance: ArrayLike, k: int | None = None, *, ideal: ArrayLike | None = None) -> float:
    """Return nDCG_p = DCG_p / IDCG_p.

    IDCG is the DCG of the best possible order of `ideal` (the grades of every judged item; by default of this list).
    The book's example: grades 0, 5, 1, 4, 2 give 6.151 / 8.9543 = 0.6869.
    """
    best = np.sort(_grades(relevance if ideal is None else ideal))[::-1]
    perfect = dcg_at_k(best, k)
    return dcg_at_k(relevance, k) / perfect if perfect > 0 else 0.0


@dataclass(frozen=True)
class RankingSummary:
    """Means over queries. `values` maps a metric's name (`recall@10`, `mrr` …) to its mean."""

    queries: int
    without_relevant: int
    values: dict[str, float]
    per_query: dict[str, Floats]  # (queries,) each: for confidence intervals and paired comparison


def summarise(lists: Sequence[ArrayLike], *, ks: Sequence[int] = (1, 5, 10), threshold: float = 1.0) -> RankingSummary:
    """Compute every metric for each full output list and average over queries."""
    graded = [_grades(relevance) for relevance in lists]
    columns: dict[str, list[float]] = {
        "mrr": [reciprocal_rank(grades, threshold=threshold) for grades in graded],
        "map": [average_precision(grades, threshold=threshold) for grades in graded],
    }
    for k in ks:
        columns[f"recall@{k}"] = [recall_at_k(grades, k, threshold=threshold) for grades in graded]
        columns[f"precision@{k}"] = [precision_at_k(grades, k, threshold=threshold) for grades in graded]
        columns[f"hit@{k}"] = [hit_at_k(grades, k, threshold=threshold) for grades in graded]
        columns[f"ndcg@{k}"] = [ndcg_at_k(grades, k) for grades in graded]
    per_query = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    return RankingSummary(
        queries=len(graded),
        without_relevant=sum(not (grades >= threshold).any() for grades in graded),
        values={name: float(column.mean()) if len(column) else 0.0 for name, column in per_query.items()},
        per_query=per_query,
    )

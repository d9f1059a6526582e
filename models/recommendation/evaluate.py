"""Measuring a recommender on a split: every metric a user, and their means with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics.bootstrap import mean_interval
from models.metrics.lists import average_pairwise_similarity, coverage, novelty
from models.metrics.ranking import average_precision, hit_at_k, ndcg_at_k, precision_at_k, recall_at_k, reciprocal_rank
from models.recommendation.recommender import Scores, best_items
from models.recommendation.splits import Split

KS = (5, 10, 20)
_DEPTH = 100  # how far down a list mAP and MRR look


@dataclass(frozen=True)
class Measured:
    """One model on one split. `per_user` `(users,)` a metric; `lists` `(users, 10)` are what was recommended."""

    per_user: dict[str, NDArray[np.float64]]
    values: dict[str, float]
    lists: NDArray[np.int64]

    def interval(self, metric: str) -> tuple[float, float]:
        """Return the 95 % bootstrap interval over users of a per-user metric's mean."""
        return mean_interval(self.per_user[metric])


def measure(scores: Scores, split: Split, *, likeness: NDArray[np.float32] | None = None) -> Measured:
    """Measure scores `(users, items)` on a split.

    Items a user has seen are never ranked. An irrelevant item with the same score as a relevant one is put before it,
    so that a model gains nothing by giving many items one score; NaN counts as the lowest. `likeness` `(items, D)` is
    for diversity.
    """
    ranked = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float64)
    seen, relevant = split.seen.toarray(), split.relevant.toarray()
    ranked[seen] = -np.inf
    depth = min(_DEPTH, ranked.shape[1])
    # Of a tie the irrelevant come first: best_items breaks ties by place, so relevant items get a hair less.
    order = _pessimistic_order(ranked, relevant, depth)
    hits = np.take_along_axis(relevant, order, axis=1)
    hits &= ~np.take_along_axis(seen, order, axis=1)
    columns: dict[str, list[float]] = {name: [] for name in _names()}
    for row, total in zip(hits, relevant.sum(axis=1), strict=True):
        for name, value in _of_list(row, int(total)).items():
            columns[name].append(value)
    per_user = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    shown = order[:, :10]
    per_user["novelty@10"] = novelty(shown, split.train.item_counts(), split.train.n_users)
    if likeness is not None and likeness.shape[1] > 1:
        per_user["similarity@10"] = average_pairwise_similarity(shown, likeness)
    values = {name: float(column.mean()) if len(column) else 0.0 for name, column in per_user.items()}
    values["coverage@10"] = coverage(shown, ranked.shape[1])
    return Measured(per_user, values, shown)


def _pessimistic_order(ranked: NDArray[np.float64], relevant: NDArray[np.bool_], depth: int) -> NDArray[np.int64]:
    order = np.empty((len(ranked), depth), np.int64)
    for row in range(len(ranked)):
        order[row] = np.lexsort((relevant[row], -ranked[row]))[:depth]
    return order


def _names() -> list[str]:
    return ["mrr", "map@10", *(f"{name}@{k}" for k in KS for name in ("hr", "precision", "recall", "ndcg"))]


def _of_list(hits: NDArray[np.bool_], total: int) -> dict[str, float]:
    ideal = np.ones(max(1, total))
    values = {
        "mrr": reciprocal_rank(hits),
        "map@10": average_precision(hits, k=10, total_relevant=min(total, 10)),
    }
    for k in KS:
        values[f"hr@{k}"] = hit_at_k(hits, k)
        values[f"precision@{k}"] = precision_at_k(hits, k)
        values[f"recall@{k}"] = recall_at_k(hits, k, total_relevant=total)
        values[f"ndcg@{k}"] = ndcg_at_k(hits, k, ideal=ideal)
    return values


def paired_difference(left: Measured, right: Measured, metric: str) -> tuple[float, float, float]:
    """Return how much `left` is above `right` on the same users: mean difference and its 95 % interval."""
    difference = left.per_user[metric] - right.per_user[metric]
    return float(difference.mean()), *mean_interval(difference)


def top_lists(scores: Scores, seen: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Return the best unseen items of each user `(users, count)`."""
    return best_items(np.where(seen, -np.inf, scores).astype(np.float32), count)


def mean_of(measured: Sequence[Measured], metric: str) -> float:
    """Return the mean of a metric over several measurements."""
    return float(np.mean([one.values[metric] for one in measured]))

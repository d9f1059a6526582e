"""What the harm model is measured against: logistic heads on frozen vectors, and words by TF-IDF."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

Matrix = Any  # an (n, D) array, or a sparse matrix of scipy's
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_UNKNOWN = float("nan")
HEADS = 30.0
"""Strength of logistic heads on vectors: the best of 1, 10 and 30."""


class LogisticHeads:
    """One L2-regularised logistic regression a class, on the examples that have a label for it."""

    def __init__(self, *, strength: float = 1.0, soft: bool = False) -> None:
        """`strength` is C: one over the penalty, as in scikit-learn. `soft` learns scores instead of 0 and 1."""
        self.strength = strength
        self.soft = soft
        self.weights: list[NDArray[np.float64] | None] = []

    def fit(
        self, inputs: Matrix, targets: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> "LogisticHeads":
        """Learn from `(n, D)` inputs and `(n, classes)` targets, NaN where there is no label; `weights` `(n,)`."""
        self.weights = []
        for place in range(targets.shape[1]):
            known = np.flatnonzero(np.isfinite(targets[:, place]))
            wanted = targets[known, place].astype(np.float64)
            wanted = wanted if self.soft else (wanted >= 0.5).astype(np.float64)
            one_sided = not len(wanted) or wanted.min() == wanted.max()
            shares = np.ones(len(wanted)) if weights is None else weights[known].astype(np.float64)
            self.weights.append(None if one_sided else self._fit_one(inputs[known], wanted, shares))
        return self

    def logits(self, inputs: Matrix) -> NDArray[np.float64]:
        """Return `(n, classes)`; NaN for a class that had no examples of one side."""
        columns = [
            np.full(inputs.shape[0], _UNKNOWN) if weights is None else inputs @ weights[:-1] + weights[-1]
            for weights in self.weights
        ]
        return np.stack([np.asarray(column, np.float64).ravel() for column in columns], axis=1)

    def _fit_one(self, inputs: Matrix, wanted: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = inputs.astype(np.float64)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            z = np.asarray(rows @ weights[:-1]).ravel() + weights[-1]
            p = 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
            error = (p - wanted) * shares
            misfit = float(np.sum((np.logaddexp(0.0, z) - wanted * z) * shares))
            slopes = self.strength * np.asarray(rows.T @ error).ravel() + weights[:-1]
            penalty = 0.5 * float(weights[:-1] @ weights[:-1])
            return self.strength * misfit + penalty, np.append(slopes, self.strength * error.sum())

        start = np.zeros(rows.shape[1] + 1)
        found: NDArray[np.float64] = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
        return found


def held_out_heads(
    vectors: NDArray[np.float32], targets: NDArray[np.float32], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return logits `(n, classes)` of logistic heads that did not see the text's fold."""
    out = np.full(targets.shape, np.nan)
    for number in np.unique(fold):
        held = fold == number
        out[held] = LogisticHeads(strength=HEADS).fit(vectors[~held], targets[~held]).logits(vectors[held])
    return out


class TfIdf:
    """Words and pairs of words, weighted by how rare they are (log(1 + tf) · idf), rows of length 1."""

    def __init__(self, *, most: int = 30_000, least: int = 2) -> None:
        """Keep the `most` frequent of the terms that `least` texts have."""
        self.most, self.least = most, least
        self._columns: dict[str, int] = {}
        self._idf = np.zeros(0)

    def fit(self, texts: Sequence[str]) -> "TfIdf":
        """Learn the terms and how rare they are."""
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(_terms(text)))
        kept = [term for term, count in found.most_common(self.most) if count >= self.least]
        self._columns = {term: column for column, term in enumerate(kept)}
        self._idf = np.log((1 + len(texts)) / (1 + np.array([found[term] for term in kept], np.float64))) + 1.0
        return self

    def encode(self, texts: Sequence[str]) -> csr_matrix:
        """Return `(n, terms)`."""
        values: list[float] = []
        columns: list[int] = []
        ends = [0]
        for text in texts:
            counts = Counter(self._columns[term] for term in _terms(text) if term in self._columns)
            row = {column: np.log1p(count) * self._idf[column] for column, count in counts.items()}
            length = np.sqrt(sum(value * value for value in row.values())) or 1.0
            columns += list(row)
            values += [value / length for value in row.values()]
            ends.append(len(columns))
        return csr_matrix((values, columns, ends), shape=(len(texts), len(self._columns)))


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{left} {right}" for left, right in pairwise(words)]

"""Matrix factorization: the feedback matrix A as U·Vᵀ, with the chapter's weighted loss, by WALS or by SGD.

    loss = Σ_observed (A_ij - U_i·V_j)² + w Σ_unobserved (U_i·V_j)² + l2 (Σ|U_i|² + Σ|V_j|²)

`w` keeps the many unobserved pairs from dominating. Users are folded in from their history, so they need not have been
there at training time (Hu, Koren and Volinsky 2008, https://doi.org/10.1109/ICDM.2008.22).
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from core.errors import InvalidInput
from models.recommendation.feedback import Feedback, Users
from models.recommendation.recommender import Report, Scores, fitted, silent

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class FactorizationConfig:
    """`unobserved_weight` is w of the loss. `iterations` are sweeps of WALS or epochs of SGD."""

    factors: int = 32
    unobserved_weight: float = 0.2
    l2: float = 2.0
    iterations: int = 15
    decay: float | None = None  # items; makes the recent history count more when a user is folded in
    learning_rate: float = 0.05  # SGD only
    batch_users: int = 64  # SGD only
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.unobserved_weight <= 1:
            raise InvalidInput(f"unobserved_weight must be above 0 and at most 1, got {self.unobserved_weight}")
        if self.factors < 1 or self.iterations < 1 or self.l2 < 0:
            raise InvalidInput("factors and iterations must be at least 1, and l2 at least 0")


def weighted_loss(observed: sp.csr_matrix, users: Matrix, items: Matrix, unobserved_weight: float) -> float:
    """Return the loss without its l2 term; `observed` holds A's non-empty cells `(users, items)`.

    The sum over all pairs is the trace of UᵀU·VᵀV, so the matrix of unobserved pairs is never made.
    """
    rows, columns = observed.nonzero()
    predicted = np.einsum("nd,nd->n", users[rows], items[columns])
    targets = np.asarray(observed[rows, columns]).ravel()
    everywhere = float(((users.T @ users) * (items.T @ items)).sum())
    seen = float(((targets - predicted) ** 2).sum())
    return seen + unobserved_weight * (everywhere - float((predicted**2).sum()))


def fold_in(history: sp.csr_matrix, items: Matrix, unobserved_weight: float, l2: float) -> Matrix:
    """Return the users' vectors that minimise the loss for fixed item vectors: one step of WALS.

    `history` `(B, items)` holds how much each observed pair counts (1, or less for what is long ago).
    """
    factors = items.shape[1]
    gram = unobserved_weight * (items.T @ items) + l2 * np.eye(factors, dtype=np.float32)
    vectors = np.zeros((history.shape[0], factors), np.float32)
    for row in range(history.shape[0]):
        span = slice(history.indptr[row], history.indptr[row + 1])
        if span.start == span.stop:
            continue  # whoever liked nothing yet is the zero vector
        liked, weights = items[history.indices[span]], history.data[span]
        extra = np.maximum(weights - unobserved_weight, 0.0)
        vectors[row] = np.linalg.solve(gram + (liked * extra[:, None]).T @ liked, weights @ liked)
    return vectors


class _Factorization:
    """Item vectors and the folding in of users."""

    name = ""

    def __init__(self, config: FactorizationConfig | None = None) -> None:
        self.config = config or FactorizationConfig()
        self._items: Matrix | None = None

    def item_vectors(self) -> Matrix:
        return fitted(self._items, self.name)

    def user_vectors(self, users: Users) -> Matrix:
        items = self.item_vectors()
        history = users.history_matrix(len(items), decay=self.config.decay)
        return fold_in(history, items, self.config.unobserved_weight, self.config.l2)

    def score(self, users: Users) -> Scores:
        return self.user_vectors(users) @ self.item_vectors().T

    def state(self) -> dict[str, NDArray]:
        return {"items": self.item_vectors()}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._items = state["items"]


class Wals(_Factorization):
    """Weighted alternating least squares, by `implicit`."""

    name = "wals"

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        config = self.config
        # `implicit` weighs unobserved pairs by 1 and observed ones by alpha: the same loss, times alpha.
        alpha = 1.0 / config.unobserved_weight
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            warnings.simplefilter("ignore", RuntimeWarning)
            model = AlternatingLeastSquares(
                config.factors,
                regularization=config.l2 * alpha,
                alpha=alpha,
                iterations=config.iterations,
                random_state=config.seed,
                num_threads=len(os.sched_getaffinity(0)),
            )
            model.fit(
                feedback.matrix(),
                show_progress=False,
                callback=lambda sweep, *_: report("WALS", sweep + 1, config.iterations),
            )
        self._items = np.asarray(model.item_factors, np.float32)


class SgdFactorization(_Factorization):
    """The same loss by stochastic gradient descent over batches of users, with Adam's step sizes.

    The gradient of a batch is exact over all its pairs, unobserved ones through the items' Gram matrix.
    """

    name = "mf-sgd"

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        config, rng = self.config, np.random.default_rng(self.config.seed)
        observed = feedback.matrix()
        scale = 1.0 / np.sqrt(config.factors)
        users = rng.normal(0, scale, (feedback.n_users, config.factors)).astype(np.float32)
        items = rng.normal(0, scale, (feedback.n_items, config.factors)).astype(np.float32)
        step_users, step_items = _Adam(users.shape), _Adam(items.shape)
        for epoch in range(config.iterations):
            for rows in np.array_split(rng.permutation(len(users)), max(1, len(users) // config.batch_users)):
                share = len(rows) / len(users)
                user_gradient, item_gradient = gradients(observed[rows], users[rows], items, config, share)
                rate = config.learning_rate * (1 - epoch / config.iterations)
                users[rows] -= step_users.step(user_gradient, rate, rows)
                items -= step_items.step(item_gradient, rate)
            report("SGD", epoch + 1, config.iterations)
        self._items = items


def gradients(
    observed: sp.csr_matrix, users: Matrix, items: Matrix, config: FactorizationConfig, share: float = 1.0
) -> tuple[Matrix, Matrix]:
    """Return half the gradient of the loss for a batch of users: by their vectors, and by all item vectors.

    `share` is the batch's part of all users: that much of the items' l2 term falls to it.
    """
    rows = np.repeat(np.arange(observed.shape[0]), np.diff(observed.indptr))
    predicted = np.einsum("nd,nd->n", users[rows], items[observed.indices])
    w = config.unobserved_weight
    # Observed: -(A - p) takes the place of w·p, which the Gram term counts for every pair.
    residual = sp.csr_matrix(((1 - w) * predicted - observed.data, observed.indices, observed.indptr), observed.shape)
    by_user = residual @ items + w * users @ (items.T @ items) + config.l2 * users
    by_item = residual.T @ users + w * items @ (users.T @ users) + share * config.l2 * items
    return np.asarray(by_user, np.float32), np.asarray(by_item, np.float32)


class _Adam:
    """Adam's moments of one matrix, some rows at a time (https://arxiv.org/abs/1412.6980)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._square = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._count = np.zeros((shape[0], 1), np.float32)

    def step(self, gradient: Matrix, rate: float, rows: NDArray[np.int64] | slice = slice(None)) -> Matrix:
        self._count[rows] += 1
        self._mean[rows] = 0.9 * self._mean[rows] + 0.1 * gradient
        self._square[rows] = 0.999 * self._square[rows] + 0.001 * gradient**2
        mean = self._mean[rows] / (1 - 0.9 ** self._count[rows])
        square = self._square[rows] / (1 - 0.999 ** self._count[rows])
        return np.asarray(rate * mean / (np.sqrt(square) + 1e-8), np.float32)

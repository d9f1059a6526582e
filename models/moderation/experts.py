"""Linear experts: one regularised logistic regression a judged part and class, and for which part a text is like.

What counts as violence differs between data sets, and a few hundred examples carry a convex model further than a
network. So each question that some data set answers has an expert of its own, on meaning, surface and words of the
text, and the fusion network is given their opinions: as they are, and weighed by how much the text is like those that
the expert learned from (a gate, as in a mixture of experts). `experts_fit.py` fits them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.moderation.features import FeatureBatch

Floats = NDArray[np.float32]
HEADS = "heads"  # of the experts that are plain logistic heads on all texts
LIKE = "like "  # of the experts that tell which part a text is like
WEIGHED = "weighed "  # of the opinions that are weighed by that
_ELSE = ("own", "any")  # experts that are asked about texts like none of the other parts
_NONE = -1
MEANING = 0.055  # scale of standardised columns beside hashed words: rows of about equal length


@dataclass(frozen=True)
class Experts:
    """K experts. `weight` `(K, text columns + hashed ones)`, `bias`, `mean` and `deviation` of their logits `(K,)`."""

    names: tuple[str, ...]
    weight: Floats
    bias: Floats
    mean: Floats
    deviation: Floats

    def opinions(self, batch: FeatureBatch) -> Floats:
        """Return `(n, opinion_count)` opinions; zeros where there is no text."""
        text, words = batch.dense["text"], batch.dense["words"]
        width = text.shape[1]
        raw = text @ self.weight[:, :width].T * np.float32(MEANING) + words @ self.weight[:, width:].T + self.bias
        opinions: Floats = np.where(batch.present[:, 0, None], gated(self.names, raw, self.mean, self.deviation), 0.0)
        return opinions.astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays to be saved."""
        return {
            f"experts.{name}": np.ascontiguousarray(getattr(self, name), np.float32)
            for name in ("weight", "bias", "mean", "deviation")
        }


def opinion_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the name of each column that `gated` gives for these experts."""
    weighed = [f"{WEIGHED}{name}" for name, gate in zip(names, _gates(names), strict=True) if gate is not None]
    return (*names, *weighed, *(names[place] for place in _likeness(names)), "text")


def opinion_count(names: Sequence[str]) -> int:
    """Return how many columns `gated` gives for these experts."""
    return len(opinion_names(names))


def gated(names: Sequence[str], raw: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return opinions `(n, opinion_count)` of raw logits `(n, K)`.

    They are the standardised logits, then those of each expert that has a gate times the chance that the text is like
    its texts (for those that learned from own or any texts: that it is like none of the other parts), then these
    chances, then 1: there is a text.
    """
    scaled = (raw - mean) / deviation
    chances = 1.0 / (1.0 + np.exp(-np.clip(raw, -30.0, 30.0)))
    like = _likeness(names)
    others = [place for place in like if names[place].removeprefix(LIKE) not in _ELSE]
    gates = {place: chances[:, place] for place in like} | {_NONE: np.prod(1.0 - chances[:, others], axis=1)}
    weighed = [scaled[:, place] * gates[gate] for place, gate in enumerate(_gates(names)) if gate is not None]
    columns = [scaled, *(column[:, None] for column in weighed), chances[:, like], np.ones((len(raw), 1), np.float32)]
    opinions: Floats = np.concatenate(columns, axis=1).astype(np.float32)
    return opinions


def _likeness(names: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name.startswith(LIKE)]


def _gates(names: Sequence[str]) -> list[int | None]:
    """Return for each expert the place of the expert that tells whether a text is like its own; None without."""
    likeness: dict[str, int] = {names[place].removeprefix(LIKE): place for place in _likeness(names)}
    likeness |= dict.fromkeys(_ELSE, _NONE)
    return [likeness.get(name.partition(".")[0]) for name in names]

"""Linear experts: one regularised logistic regression a judged part and class, and for which part a text is like.

What counts as violence differs between data sets, and a few hundred examples carry a convex model further than a
network. So each question that some data set answers has an expert of its own, on meaning, surface and words of the
text, and the fusion network is given their opinions. `experts_fit.py` fits them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.moderation.features import FeatureBatch

Floats = NDArray[np.float32]
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
        """Return standardised logits `(n, K)`; zeros where there is no text."""
        text, words = batch.dense["text"], batch.dense["words"]
        width = text.shape[1]
        raw = text @ self.weight[:, :width].T * np.float32(MEANING) + words @ self.weight[:, width:].T + self.bias
        there = batch.present[:, 0, None]
        opinions: Floats = np.where(there, (raw - self.mean) / self.deviation, 0.0).astype(np.float32)
        return opinions

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays to be saved."""
        return {
            f"experts.{name}": np.ascontiguousarray(getattr(self, name), np.float32)
            for name in ("weight", "bias", "mean", "deviation")
        }

"""Tempering: what networks say of a text counts as far as the text is like those that they learned from.

Networks are sure of themselves beyond what they have seen; linear models err less there. So the share of a post's
logits that comes from its text is mixed: towards the stacked experts, and, where the text is like none of the judged
parts, towards a plain vote of all experts, of which two thirds are logistic heads that learned from all texts alike.
What the networks add for a post's surroundings stays, within bounds: where they are far beyond what they have seen,
that is as wild as the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.moderation.experts import LIKE, opinion_names
from models.moderation.features import MODALITIES, FeatureBatch

Floats = NDArray[np.float32]
STACK, OUTSIDE = "tempering.stack", "tempering.outside"
MEMBERS = "tempering.members."
"""Before the arrays of the networks that are tempered, in versions whose networks have learned on since."""
_NETWORKS = 0.5  # of the networks beside the stack, where a text is like those of a judged part
_SURROUNDINGS = 2.0  # of a logit, at most: odds seven times as high or as low


@dataclass(frozen=True)
class Tempering:
    """`stack` and `outside` weigh the opinions of the experts `names`, `(outputs, opinion_count)` each."""

    names: tuple[str, ...]
    stack: Floats
    outside: Floats

    def change(self, opinions: Floats, said: NDArray[np.float64], of_text: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what tempering adds to `said`, the networks' logits of posts `(n, outputs)`.

        `of_text` `(n, outputs)` is what they say of the texts alone; where there is no text, nothing is added.
        """
        strange = unfamiliar(self.names, opinions)[:, None].astype(np.float64)
        stacked = opinions.astype(np.float64) @ self.stack.T
        inside = stacked + _NETWORKS * (1.0 - strange) * (of_text - stacked)
        mixed = (1.0 - strange) * inside + strange * (opinions.astype(np.float64) @ self.outside.T)
        added = np.clip(said - of_text, -_SURROUNDINGS, _SURROUNDINGS)
        changes: NDArray[np.float64] = np.where(opinions[:, -1:] > 0, mixed + added - said, 0.0)
        return changes

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays to be saved."""
        return {STACK: self.stack, OUTSIDE: self.outside}


def unfamiliar(names: Sequence[str], opinions: Floats) -> Floats:
    """Return the chance `(n,)` that a text is like none of the parts that have an expert for that."""
    likeness = [place for place, name in enumerate(opinion_names(names)) if name.startswith(LIKE)]
    chances = opinions[:, [place for place in likeness if place >= len(names)]]  # not the logits, which come first
    strange: Floats = np.prod(1.0 - chances, axis=1)
    return strange


def text_alone(batch: FeatureBatch) -> FeatureBatch:
    """Return posts as if nothing but their texts were known."""
    return batch.without(*(name for name in MODALITIES if name != "text"))

"""Stacking: a logistic regression a class on the opinions of experts that did not see the text (Wolpert 1992).

Each class has the experts for that class alone, weighed by how much the text is like those they learned from: what the
others say adds more noise than news. It is convex, and so near the best that the opinions allow; small networks fitted
by gradient descent are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.moderation.baselines import LogisticHeads
from models.moderation.experts import LIKE, WEIGHED, opinion_names

Floats = NDArray[np.float32]
_STRENGTH = 1.0


@dataclass(frozen=True)
class Stack:
    """`weight` `(outputs, opinions)`; zeros for an output without examples of both sides."""

    weight: Floats

    def logits(self, opinions: Floats) -> NDArray[np.float64]:
        """Return `(n, outputs)` of opinions `(n, K)`."""
        found: NDArray[np.float64] = opinions.astype(np.float64) @ self.weight.T
        return found


def fit_stack(
    opinions: Floats, targets: Floats, chances: Floats, experts: Sequence[str], outputs: Sequence[str], *, soft: bool
) -> Stack:
    """Weigh opinions `(n, K)` of these experts by the targets `(n, outputs)` of the texts, NaN where there is no label.

    `chances` `(n,)` are how likely each text is drawn: what is drawn more counts more.
    """
    weight = np.zeros((len(outputs), opinions.shape[1]), np.float32)
    for place, output in enumerate(outputs):
        columns = _columns(experts, output)
        heads = LogisticHeads(strength=_STRENGTH, soft=soft)
        fitted = heads.fit(opinions[:, columns], targets[:, [place]], chances / chances.mean()).weights[0]
        if fitted is not None:
            weight[place, columns], weight[place, -1] = fitted[:-1], fitted[-1]  # the last opinion is always 1
    return Stack(weight)


def _columns(experts: Sequence[str], output: str) -> list[int]:
    """Return the places of the opinions that a class is judged by; an output that is no class has those of all."""
    found = []
    for place, name in enumerate(opinion_names(experts)[:-1]):
        ours = output not in HARM_CLASSES or name.endswith(f".{output}")
        if name.startswith(LIKE):
            found += [place] if place >= len(experts) else []  # chances, not logits
        elif ours and (name.startswith((WEIGHED, "spam."))):
            found.append(place)
    return found

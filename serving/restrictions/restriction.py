"""A restriction: what a verdict means for a post, and for the items of its author that the post names."""

from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.moderation import HarmClass, Verdict

State = Literal["demoted", "enforced"]

_LEAST_FACTOR = 0.001

Score = TypeVar("Score", float, NDArray[np.float32])


class Restriction(msgspec.Struct, frozen=True, gc=False):
    """`enforced`: shown to nobody. `demoted`: shown, but its scores count `factor` of what they would."""

    state: State
    factor: float  # in (0, 1]; 0 where enforced
    harm: HarmClass | None
    decision_id: str
    post_id: str

    @property
    def enforced(self) -> bool:
        return self.state == "enforced"

    def strictness(self) -> tuple[bool, float, str, str]:
        """Return a key by which the stricter of two restrictions is the smaller, and no two posts' are equal."""
        return (not self.enforced, self.factor, self.decision_id, self.post_id)

    def said(self) -> str:
        """Return what is to be said of it to a reviewer."""
        because = f" for {self.harm.replace('_', '-')}" if self.harm is not None else ""
        decision = f" (decision {self.decision_id})" if self.decision_id else ""
        if self.enforced:
            return f"a post that shows it was taken down{because}{decision}"
        return f"its score counts {self.factor:g} of what it would: a post that shows it is demoted{because}{decision}"


def restriction_of(verdict: Verdict) -> Restriction | None:
    """Return what a verdict restricts, or None when it clears the post.

    A factor outside (0, 1] counts as the nearest in it: demotion never raises a score, and hides nothing.
    """
    if verdict.state == "clear":
        return None
    factor = 0.0 if verdict.state == "enforced" else min(1.0, max(_LEAST_FACTOR, verdict.factor))
    return Restriction(verdict.state, factor, verdict.harm, verdict.decision_id, verdict.post_id)


def lowered(score: Score, factor: Score) -> Score:
    """Return a score as it counts for something demoted: `factor` times a positive one, and a negative one lower, too.

    A negative score times the factor would be a better one, so it becomes `2 - factor` times what it was.
    """
    return score - (1 - factor) * abs(score)

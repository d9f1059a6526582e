"""Which posts are worth judging again as reactions arrive, within a budget: the most valuable first.

The value of another look grows with what happened since the last one: reports first, then comments (what people say is
evidence), shares, and how often the post is shown, because that is what a wrong decision costs.
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

MOST_WAITING = 100_000
_WEIGHTS: Mapping[str, float] = {"reports": 5.0, "comments": 1.0, "shares": 0.5, "likes": 0.05}


@dataclass
class Waiting:
    """What happened to a post since it was last judged. `cause` is the newest event."""

    post_id: str
    counts: dict[str, int] = field(default_factory=dict)
    cause: str = ""
    at: datetime | None = None

    @property
    def value(self) -> float:
        """Return sum over reactions of weight x log(1 + count), times log2(2 + impressions).

        Logarithms, because the tenth report says less than the first.
        """
        told = sum(weight * math.log1p(self.counts.get(name, 0)) for name, weight in _WEIGHTS.items())
        shown = math.log2(2 + self.counts.get("impressions", 0))
        return (told + 0.01 * shown) * shown


class Rescoring:
    """The posts that wait, by value. Not thread-safe."""

    def __init__(self, *, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[str, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, post_id: str, counts: Mapping[str, int], cause: str, at: datetime) -> None:
        """Note reactions to a post. Beyond `most` posts the least valuable half is forgotten."""
        one = self._waiting.setdefault(post_id, Waiting(post_id))
        for name, number in counts.items():
            one.counts[name] = one.counts.get(name, 0) + number
        one.cause, one.at = cause, at
        self._bound()

    def take(self, most: int) -> list[Waiting]:
        """Return the most valuable posts and forget them."""
        best = heapq.nlargest(most, self._waiting.values(), key=lambda one: one.value)
        for one in best:
            del self._waiting[one.post_id]
        return best

    def _bound(self) -> None:
        if len(self._waiting) > self._most:
            kept = heapq.nlargest(self._most // 2, self._waiting.values(), key=lambda one: one.value)
            self._waiting = {one.post_id: one for one in kept}

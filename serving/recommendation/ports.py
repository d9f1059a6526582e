"""What the parts of the recommender hand to each other.

Rows are numbers of videos in `Videos`: they never move, so arrays of rows can be kept between requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.events import UserProfile
from serving.recommendation.memo import Memo

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Past:
    """One interaction of a viewer with a video, newest first in `Viewer.history`."""

    row: int
    kind: str  # impression, click, watch, like, dislike, share, save, comment, hide
    time_s: float  # event time, seconds since 1970
    value: float  # share watched (0 to 1) for a watch that says of how many seconds, seconds watched otherwise; else 0


@dataclass(frozen=True)
class Viewer:
    """What is known of a user when a request comes in. A snapshot: nothing in it changes afterwards.

    `memo` holds what was worked out from it for this request, for those who need the same.
    """

    user_id: str
    now: datetime
    known: bool = False  # has interacted before
    profile: UserProfile | None = None
    country: str | None = None
    language: str | None = None
    device: str | None = None
    history: tuple[Past, ...] = ()
    follows: frozenset[str] = frozenset()  # creators
    queries: tuple[str, ...] = ()  # newest first
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True)
class Proposal:
    """Videos one generator proposes, best first. Scores are the generator's own: comparable within it only."""

    rows: Rows  # (n,)
    scores: Scores  # (n,)


class Generator(Protocol):
    """Proposes candidates. Called from several threads at once."""

    name: str

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        """Return up to `limit` videos; none when it has nothing to say about this viewer."""
        ...


class Tower(Protocol):
    """The user half of a two-tower model; the item half is in the vector index."""

    version: str

    def user_vector(self, viewer: Viewer) -> NDArray[np.float32] | None:
        """Return a `(dim,)` vector of length 1, or None for a viewer it cannot place."""
        ...


class Neighbours(Protocol):
    """Videos that the same people watch, learnt offline."""

    version: str

    def of(self, row: int) -> Proposal:
        """Return the neighbours of a video, best first; none for one it was not trained on."""
        ...


@dataclass(frozen=True)
class Candidates:
    """The union of all proposals."""

    rows: Rows  # (n,), distinct
    proposed: Mapping[str, tuple[NDArray[np.int32], Scores]]  # generator -> places in `rows`, its scores there
    degraded: tuple[str, ...] = ()  # generators that were late or failed
    timings_s: Mapping[str, float] = field(default_factory=dict)


class Ranker(Protocol):
    """Predicts what a viewer would do with each candidate."""

    version: str

    def predict(self, viewer: Viewer, candidates: Candidates) -> Mapping[str, Scores]:
        """Return what is predicted `(n,)` by objective: probabilities of `click`, `watch` (share watched) and `like`,
        and `pick`, any number: the greater, the rather this candidate than another.

        NaN in all of them says that the ranker knows nothing of a candidate.
        """
        ...

"""Candidate generators, each its own reason to show somebody a video.

They read the live state and hold nothing of their own, so there is one set of them for each `LiveState`.
"""

from core.ports import VectorIndex
from serving.recommendation.generators.content import Content
from serving.recommendation.generators.follows import Follows
from serving.recommendation.generators.fresh import Fresh
from serving.recommendation.generators.local import Local
from serving.recommendation.generators.neighbours import ItemNeighbours
from serving.recommendation.generators.popular import Popular
from serving.recommendation.generators.trending import Trending
from serving.recommendation.generators.two_tower import TwoTower
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Generator, Neighbours, Tower

__all__ = [
    "Content",
    "Follows",
    "Fresh",
    "ItemNeighbours",
    "Local",
    "Popular",
    "Trending",
    "TwoTower",
    "all_generators",
]


def all_generators(
    state: LiveState,
    *,
    tower: Tower | None = None,
    index: VectorIndex | None = None,
    neighbours: Neighbours | None = None,
) -> tuple[Generator, ...]:
    """Return a generator of each kind over a state; those whose model is not there are left out.

    Args:
        tower: the user half of a two-tower model, and `index` the vectors of its item half.
        neighbours: a trained table of item-to-item neighbours, by the rows of this state.
    """
    generators: list[Generator] = []
    if tower is not None and index is not None:
        generators.append(TwoTower(state, tower, index))
    if neighbours is not None:
        generators.append(ItemNeighbours(state, neighbours))
    return (
        *generators,
        Content(state),
        Follows(state),
        Popular(state),
        Trending(state),
        Local(state),
        Fresh(state),
    )

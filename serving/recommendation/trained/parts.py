"""One trained system over one live state: what it adds to the recommender, and the indexes it searches."""

from collections.abc import Collection
from dataclasses import dataclass

from serving.recommendation.engine import Parts
from serving.recommendation.generators.two_tower import TwoTower
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Generator
from serving.recommendation.trained.asking import Asking
from serving.recommendation.trained.generators import IndexedGenerator, TrainedGenerator, TrainedTower
from serving.recommendation.trained.ranker import TrainedRanker
from serving.recommendation.trained.system import TrainedSystem
from serving.recommendation.trained.tower_index import TowerIndex, embeds_new

NEW_VIDEOS = "two-tower-new"
_SUFFIX = "-trained"


@dataclass(frozen=True, eq=False)
class SystemOver:
    """`parts` answer at once; what they find in `indexes` grows with `catch_up`, which one thread calls."""

    system: TrainedSystem
    state: LiveState
    parts: Parts
    indexes: tuple[TowerIndex, ...]

    def catch_up(self) -> int:
        """Index what came or changed since the last time; return how many videos that was."""
        return sum(index.catch_up() for index in self.indexes)

    def close(self) -> None:
        """Stop the indexes' threads; searches that still run end well."""
        for index in self.indexes:
            index.close()


def system_over(
    system: TrainedSystem, state: LiveState, taken: Collection[str] = (), *, scored_whole: int = 50_000
) -> SystemOver:
    """Return a system over a state.

    Generators are named as in training; one whose name is among the `taken` of live generators gets `-trained` added.
    With two towers that read features there is one more, `NEW_VIDEOS`, for videos that training did not know.

    Args:
        scored_whole: trained videos up to which the two towers score all; of more they search an index.
    """
    asking, videos = Asking(system, state), state.videos
    names = {name: name + _SUFFIX if name in taken else name for name in system.scores}
    generators: dict[str, Generator] = {name: TrainedGenerator(online, name, asking) for name, online in names.items()}
    indexes: list[TowerIndex] = []
    if system.tower is not None:
        tower, model = TrainedTower(system.tower, asking), system.tower
        if system.n_items > scored_whole:
            known = TowerIndex(model, system, asking.items, videos, new=False)
            search = TwoTower(state, tower, known.index)
            generators[model.name] = IndexedGenerator(names[model.name], model.name, asking, search)
            indexes.append(known)
        if embeds_new(system):
            later = TowerIndex(model, system, asking.items, videos, new=True)
            generators[NEW_VIDEOS] = TwoTower(state, tower, later.index, NEW_VIDEOS)
            indexes.append(later)
    parts = Parts(system.version, tuple(generators.values()), TrainedRanker(asking, names))
    return SystemOver(system, state, parts, tuple(indexes))

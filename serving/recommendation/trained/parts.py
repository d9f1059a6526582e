"""What a trained system adds to the recommender over one live state."""

from collections.abc import Collection

from serving.recommendation.engine import Parts
from serving.recommendation.live_state import LiveState
from serving.recommendation.trained.asking import Asking
from serving.recommendation.trained.generators import TrainedGenerator
from serving.recommendation.trained.ranker import TrainedRanker
from serving.recommendation.trained.system import TrainedSystem

_SUFFIX = "-trained"


def parts_of(system: TrainedSystem, state: LiveState, taken: Collection[str]) -> Parts:
    """Return a system's generators and its ranker over a state.

    Generators are named as in training; one whose name is among the `taken` of live generators gets `-trained` added.
    """
    asking = Asking(system, state)
    names = {name: name + _SUFFIX if name in taken else name for name in system.scores}
    return Parts(
        version=system.version,
        generators=tuple(TrainedGenerator(online, name, asking) for name, online in names.items()),
        ranker=TrainedRanker(asking, names),
    )

"""The ranker of a trained system, as the recommender's ranker."""

from collections.abc import Mapping

import numpy as np

from models.recommendation.candidates import evidence_of
from models.recommendation.ranker import TASKS
from serving.recommendation.ports import Candidates, Scores, Viewer
from serving.recommendation.scoring import PICK
from serving.recommendation.trained.asking import Asking, Listed

_NOTHING = Listed(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))


class TrainedRanker:
    """Predicts from the generators' lists, the viewer's history and what training learned of items.

    A generator that was late, failed or had nothing to say leaves no evidence, as in training. Of videos that were not
    there at training it says NaN.
    """

    def __init__(self, asking: Asking, online_names: Mapping[str, str]) -> None:
        """`online_names`: what each generator of the training is called here, in the order of training."""
        self.version = asking.system.version
        self._asking = asking
        self._names = online_names

    def predict(self, viewer: Viewer, candidates: Candidates) -> Mapping[str, Scores]:
        numbers = self._asking.items.numbers(candidates.rows)
        known = np.flatnonzero(numbers >= 0)
        heads = {name: np.full(len(numbers), np.nan, np.float32) for name in (PICK, *TASKS)}
        if not len(known):
            return heads
        asked = self._asking.about(viewer)
        heard = [
            asked.lists.get(name, _NOTHING) if online in candidates.proposed else _NOTHING
            for name, online in self._names.items()
        ]
        items = numbers[known]
        evidence = evidence_of([one.items for one in heard], [one.scores for one in heard], items)
        picks, tasks = self._asking.system.ranker.score_all(asked.users, items[None], evidence[None])
        heads[PICK][known] = picks[0]
        for place, name in enumerate(TASKS):
            heads[name][known] = tasks[0, :, place]
        return heads

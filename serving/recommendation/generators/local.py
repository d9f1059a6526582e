"""What is popular where the viewer is and in the language they speak."""

import numpy as np

from serving.recommendation.generators.picking import NO_PROPOSAL, best_of, eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Rows, Viewer
from serving.recommendation.vocabulary import primary_language

_RANK_OFFSET = 60.0  # as reciprocal rank fusion has it: Cormack, Clarke and Büttcher 2009


class Local:
    """Proposes from the lists of the viewer's country and language, merged by reciprocal ranks."""

    name = "local"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        lists: list[Rows] = []
        popularity = self._state.popularity
        if viewer.country is not None:
            lists.append(popularity.top_in_country(viewer.country)[0])
        if viewer.language is not None and (language := primary_language(viewer.language)) != "und":
            lists.append(popularity.top_in_language(self._state.videos.languages.code(language))[0])
        kept = []
        for rows in lists:
            chosen = rows[eligible(self._state, viewer, rows)] if len(rows) else rows
            kept.append(chosen[:limit])
        rows = np.concatenate(kept) if kept else np.zeros(0, np.int64)
        if not len(rows):
            return NO_PROPOSAL
        ranks = np.concatenate([np.arange(len(rows)) for rows in kept])
        distinct, places = np.unique(rows, return_inverse=True)
        return best_of(distinct, np.bincount(places, 1 / (_RANK_OFFSET + ranks)), limit)

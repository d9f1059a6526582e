"""What was uploaded last."""

import numpy as np

from serving.recommendation.generators.picking import NO_PROPOSAL, best_of, eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Viewer
from serving.recommendation.vocabulary import primary_language

_OTHER_LANGUAGE = 4.0  # a video in another language than the viewer's ranks as one so many times further back


class Fresh:
    """Proposes the newest videos, those in the viewer's language before others. Scores fall with the rank."""

    name = "fresh"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        videos = self._state.videos
        rows, _ = videos.newest.best()
        rows = rows[eligible(self._state, viewer, rows)] if len(rows) else rows
        if not len(rows):
            return NO_PROPOSAL
        ranks = np.arange(len(rows), dtype=np.float64)
        code = videos.languages.code(primary_language(viewer.language)) if viewer.language is not None else -1
        if code >= 0:
            ranks[videos.language[rows] != code] *= _OTHER_LANGUAGE
        return best_of(rows, 1 / (1 + ranks), limit)

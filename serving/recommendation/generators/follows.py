"""What the creators a viewer follows have uploaded lately."""

import numpy as np

from serving.recommendation.generators.picking import NO_PROPOSAL, best_of, eligible
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Viewer

_PER_CREATOR = 20
_CREATORS = 500  # looked at, those who uploaded last first


class Follows:
    """Proposes the newest videos of followed creators, newest first. Scores are creation times, relative to the newest
    event: 0 is now, -1 a day ago."""

    name = "follows"

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        videos = self._state.videos
        codes = [code for name in viewer.follows if (code := videos.creators.code(name)) >= 0]
        if len(codes) > _CREATORS:
            codes.sort(key=lambda code: (-self._last_row(code), code))
            codes = codes[:_CREATORS]
        parts = [videos.by_creator.newest(code, _PER_CREATOR) for code in codes]
        rows = np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.zeros(0, np.int64)
        rows = rows[eligible(self._state, viewer, rows)] if len(rows) else rows
        if not len(rows):
            return NO_PROPOSAL
        return best_of(rows, (videos.created_s[rows] - self._state.clock_s) / 86_400.0, limit)

    def _last_row(self, creator: int) -> int:
        rows = self._state.videos.by_creator.newest(creator, 1)
        return int(rows[0]) if len(rows) else -1

"""From a long list of rows to a proposal: what the viewer may be shown and has not seen."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Rows, Viewer

_FIRST_LOOK = 512  # rows of a list that are checked before all of it is

NO_PROPOSAL = Proposal(np.zeros(0, np.int64), np.zeros(0, np.float32))


def eligible(state: LiveState, viewer: Viewer, rows: Rows) -> NDArray[np.bool_]:
    """Return which rows may be shown to a viewer and were not seen by them."""
    mask = state.videos.admissible(rows, viewer.country)
    seen = state.audience.seen(viewer.user_id)
    if len(seen):
        mask &= ~seen.mask(rows)
    return mask


def first_eligible(state: LiveState, viewer: Viewer, rows: Rows, scores: NDArray, limit: int) -> Proposal:
    """Return the first `limit` eligible of rows that are in order already, best first."""
    near = max(_FIRST_LOOK, 2 * limit)
    chosen = np.flatnonzero(eligible(state, viewer, rows[:near]))
    if len(chosen) < limit and len(rows) > near:
        chosen = np.flatnonzero(eligible(state, viewer, rows))
    chosen = chosen[:limit]
    return Proposal(rows[chosen], scores[chosen].astype(np.float32))


def best_of(rows: Rows, scores: NDArray, limit: int) -> Proposal:
    """Return the `limit` rows with the greatest scores, best first; of equal ones the smaller row first."""
    if len(rows) > limit:
        kept = np.argpartition(-scores, limit)[:limit]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))
    return Proposal(rows[order], scores[order].astype(np.float32))

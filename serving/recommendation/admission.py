"""Which videos may not be in an answer whatever the others are, by what is known at this very moment."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Rows, Viewer
from serving.recommendation.reranking import Fate
from serving.recommendation.videos import DELETED, HIDDEN, PRIVATE, UNLISTED, UNSAFE

#: From the weakest reason to the strongest: of several, the last is told.
_FLAGS = (
    (UNLISTED, Fate.unlisted),
    (PRIVATE, Fate.private),
    (UNSAFE, Fate.unsafe),
    (HIDDEN, Fate.hidden),
    (DELETED, Fate.deleted),
)


def refusals(state: LiveState, viewer: Viewer, rows: Rows, min_quality: float) -> NDArray[np.uint8]:
    """Return for each row `(n,)` why it may not be shown to the viewer (a `Fate`), or 0.

    Reads the live state, not the viewer's snapshot: what was seen, hidden or taken down since then counts.
    """
    videos, audience = state.videos, state.audience
    fates = np.zeros(len(rows), np.uint8)
    fates[videos.quality[rows] < min_quality] = Fate.low_quality
    seen = audience.seen(viewer.user_id)
    if len(seen):
        fates[seen.mask(rows)] = Fate.seen
        hidden = audience.reactions(viewer.user_id).hidden
        if hidden:
            fates[np.fromiter(map(hidden.__contains__, rows.tolist()), np.bool_, len(rows))] = Fate.hidden_by_viewer
    fates[videos.blocked(rows, viewer.country)] = Fate.blocked_region
    flags = videos.flags[rows]
    if flags.any():
        for bit, fate in _FLAGS:
            fates[flags & bit != 0] = fate
    return fates

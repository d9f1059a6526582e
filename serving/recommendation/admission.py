"""Which videos may not be in an answer whatever the others are, by what is known at this very moment."""

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Rows, Viewer
from serving.recommendation.reranking import Fate
from serving.recommendation.videos import DELETED, HIDDEN, PRIVATE, UNLISTED

#: From the weakest reason to the strongest: of several, the last is told.
_NOT_PUBLIC = ((UNLISTED, Fate.unlisted), (PRIVATE, Fate.private))
_GONE = ((HIDDEN, Fate.hidden), (DELETED, Fate.deleted))


def refusals(state: LiveState, viewer: Viewer, rows: Rows, min_factor: float) -> NDArray[np.uint8]:
    """Return for each row `(n,)` why it may not be shown to the viewer (a `Fate`), or 0.

    Reads the live state and the verdicts, not the viewer's snapshot: what was seen, hidden or taken down since counts.
    """
    videos, audience = state.videos, state.audience
    factors = videos.factors(rows)
    fates = np.zeros(len(rows), np.uint8)
    fates[factors < min_factor] = Fate.demoted
    seen = audience.seen(viewer.user_id)
    if len(seen):
        fates[seen.mask(rows)] = Fate.seen
        hidden = audience.reactions(viewer.user_id).hidden
        if hidden:
            fates[np.fromiter(map(hidden.__contains__, rows.tolist()), np.bool_, len(rows))] = Fate.hidden_by_viewer
    fates[videos.blocked(rows, viewer.country)] = Fate.blocked_region
    flags = videos.flags[rows]
    if flags.any():
        _mark(fates, flags, _NOT_PUBLIC)
    fates[factors == 0] = Fate.enforced
    if flags.any():
        _mark(fates, flags, _GONE)
    return fates


def _mark(fates: NDArray[np.uint8], flags: NDArray[np.uint8], reasons: tuple[tuple[int, Fate], ...]) -> None:
    for bit, fate in reasons:
        fates[flags & bit != 0] = fate

"""What the models see of a viewer, as a part of an answer's trace: to compare with what the archive says of the moment.

Towers and ranker read nothing else of a person: what they did last with which video, and their profile. It is kept with
the trace, written behind the answer, and forgotten with it; like the trace, it does not say whose it is.
"""

from typing import Any

from models.recommendation.described import user_cells
from serving.recommendation.ports import Viewer
from serving.recommendation.videos import Videos

_PARTS = 2**64


def is_logged(seed: int, share: float) -> bool:
    """Tell whether an answer of this seed is one of those whose features are kept."""
    return seed % _PARTS < share * _PARTS


def logged(viewer: Viewer, videos: Videos) -> dict[str, Any]:
    """Return what models see: `history`, newest first, as (video, kind, time in s, value), and the profile's cells."""
    return {
        "now": viewer.now,
        "history": [(videos.item_id(past.row), past.kind, past.time_s, past.value) for past in viewer.history],
        "profile": user_cells(viewer.profile) if viewer.profile is not None else None,
    }

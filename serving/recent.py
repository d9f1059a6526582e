"""What came into the index last, for people who look at it."""

from collections.abc import Callable

from core.entries import IndexEntry
from core.ports import SearchFilter
from models.index.filters import allows
from models.index.live import LiveIndex
from models.index.segments import entry_at
from serving.visual_search import CANARY_CATEGORY

_SHOWN = SearchFilter(exclude_categories=(CANARY_CATEGORY,))


def newest(index: LiveIndex, limit: int, refused: Callable[[IndexEntry], bool]) -> list[IndexEntry]:
    """Return up to `limit` public, visible items, the last written first, without those that are `refused`."""
    found: list[IndexEntry] = []
    for segment in reversed(index.segments()):
        for row in range(segment.n_rows - 1, -1, -1):
            if len(found) >= limit:
                return found
            if segment.alive[row] and allows(entry := entry_at(segment, row), _SHOWN) and not refused(entry):
                found.append(entry)
    return found

"""One search over all segments of an index."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry
from core.ports import Hit, SearchFilter
from models.index.filters import allows
from models.index.rows import code, unpack_row
from models.index.segments import Segment, entry_at
from models.index.structures import Query

_ANYTHING_VISIBLE = SearchFilter()
_SPARE = 8  # fetched beyond k, for rows that turn out to be two states of one item
_SURPLUS = 16  # beyond that, because codes order candidates only roughly before they are scored exactly


def search_segments(
    view: Sequence[Segment], vector: NDArray[np.float32], k: int, where: SearchFilter | None, *, exact: bool
) -> list[Hit]:
    """Return up to `k` visible items by descending cosine similarity.

    Args:
        view: segments, oldest first.
        vector: `(dim,)`, of length 1.
        exact: score every row instead of the candidates that structures propose.
    """
    excluded = len(where.exclude_item_ids) if where is not None else 0
    want = k + excluded + _SPARE
    query = Query(vector, sum(segment.n_rows for segment in view))
    parts = [segment.search(query, want, where, exact) for segment in view]
    places = np.repeat(np.arange(len(view)), [rows.size for rows, _ in parts])
    rows = np.concatenate([rows for rows, _ in parts])
    near = np.argsort(-np.concatenate([scores for _, scores in parts]), kind="stable")
    near = near[: want + want // 4 + _SURPLUS]
    places, rows = places[near], rows[near]
    vectors = np.empty((near.size, vector.size), dtype=np.float32)
    blobs = np.empty(near.size, dtype=object)
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        vectors[here] = view[place].vectors(rows[here])
        blobs[here] = view[place].blobs(rows[here])
    scores = vectors @ vector
    check = where if where is not None else _ANYTHING_VISIBLE
    hits: dict[str, tuple[tuple[int, int], Hit]] = {}
    for i in np.lexsort((-rows, -places, -scores)).tolist():
        if len(hits) >= k:
            break
        age = int(places[i]), int(rows[i])  # later segments, and later rows in one, are newer
        entry = unpack_row(blobs[i], vectors[i])
        known = hits.get(entry.item_id)
        if known is not None and known[0] > age:
            continue
        if allows(entry, check):
            hits[entry.item_id] = (age, Hit(score=min(1.0, max(-1.0, float(scores[i]))), entry=entry))
    answer = [hit for _, hit in hits.values()]
    answer.sort(key=lambda hit: (-hit.score, hit.entry.item_id))
    return answer


def find_by_media(
    view: Sequence[Segment], media_id: str, refused: Callable[[IndexEntry], bool] = lambda entry: False
) -> IndexEntry | None:
    """Return an item that shows a media object: the newest that may be shown, else the newest refused one, else the
    newest, or None.

    Args:
        refused: tells what may not be shown although the index would show it.
    """
    wanted = np.uint64(code(media_id))
    visible: IndexEntry | None = None
    withheld: IndexEntry | None = None
    other: IndexEntry | None = None
    for segment in view:
        for row in np.flatnonzero(segment.alive.copy() & (segment.columns["media"] == wanted)):
            entry = entry_at(segment, int(row))
            if entry.media_id != media_id:
                continue
            if refused(entry):
                withheld = entry
            elif allows(entry, _ANYTHING_VISIBLE):
                visible = entry
            else:
                other = entry
    return visible or withheld or other

"""What a search may return: as a mask over rows, and as a check of one entry (the one that has the last word)."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry
from core.ports import SearchFilter
from models.index.rows import HIDDEN, PRIVATE, UNSAFE, VIDEO, Columns, Labels, code, short_code


def shown_mask(flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which rows an unfiltered search may return, by their flags."""
    return (flags & (HIDDEN | UNSAFE | PRIVATE)) == 0


class Described(Protocol):
    """Rows with what filters look at. Its labels are only asked for by a filter that needs them."""

    columns: Columns

    @property
    def tags(self) -> Labels: ...

    @property
    def regions(self) -> Labels: ...


def row_mask(rows: Described, where: SearchFilter) -> NDArray[np.bool_]:
    """Return which rows satisfy a filter, dead rows included; strings are compared by their codes.

    `exclude_item_ids` is not looked at: the caller fetches that many more and drops them by name.
    """
    columns = rows.columns
    flags = columns["flags"]
    n_rows = flags.size
    mask = (flags & (HIDDEN | UNSAFE)) == 0
    public = (flags & PRIVATE) == 0
    if where.include_private_of is not None:
        public |= columns["owner"] == np.uint64(code(where.include_private_of))
    mask &= public
    if where.owner_id is not None:
        mask &= columns["owner"] == np.uint64(code(where.owner_id))
    for column, wanted in (("category", where.category), ("language", where.language)):
        if wanted is not None:
            mask &= columns[column] == np.uint32(short_code(wanted))
    if where.kind is not None:
        mask &= ((flags & VIDEO) != 0) if where.kind == "video" else ((flags & VIDEO) == 0)
        if where.kind not in ("image", "video"):
            mask[:] = False
    for category in where.exclude_categories:
        mask &= columns["category"] != np.uint32(short_code(category))
    if where.tags_any:
        mask &= rows.tags.rows_with(where.tags_any, n_rows)
    if where.region is not None:
        mask &= ~rows.regions.rows_with((where.region,), n_rows)
    return mask


def allows(entry: IndexEntry, where: SearchFilter) -> bool:
    """Tell whether a filter lets an entry be returned, by the strings themselves."""
    if entry.state != "active" or entry.unsafe:
        return False
    if entry.visibility != "public" and (
        where.include_private_of is None or entry.owner_id != where.include_private_of
    ):
        return False
    for value, wanted in (
        (entry.owner_id, where.owner_id),
        (entry.category, where.category),
        (entry.language, where.language),
        (entry.kind, where.kind),
    ):
        if wanted is not None and value != wanted:
            return False
    if where.tags_any and not set(where.tags_any).intersection(entry.tags):
        return False
    if where.region is not None and where.region in entry.blocked_regions:
        return False
    return entry.item_id not in where.exclude_item_ids and entry.category not in where.exclude_categories

"""The simplest index there can be: a dictionary and a loop. What every other index must agree with."""

import math

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, check_vector, unpack_vector
from core.errors import InvalidInput
from core.ports import Hit, SearchFilter


class DictIndex:
    """Implements `core.ports.VectorIndex` in plain Python."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self.entries: dict[str, IndexEntry] = {}
        self.removed: dict[str, Version] = {}

    @property
    def dim(self) -> int:
        return self._dim

    def apply(self, entry: IndexEntry) -> bool:
        check_vector(unpack_vector(entry.vector), self._dim)
        known = self._known(entry.item_id)
        if known is not None and entry.version <= known:
            return False
        self.entries[entry.item_id] = entry
        self.removed.pop(entry.item_id, None)
        return True

    def remove(self, item_id: str, version: Version) -> bool:
        known = self._known(item_id)
        if known is not None and (version < known or (version == known and item_id not in self.entries)):
            return False
        self.entries.pop(item_id, None)
        self.removed[item_id] = version
        return True

    def get(self, item_id: str) -> IndexEntry | None:
        return self.entries.get(item_id)

    def search(
        self, vector: NDArray[np.float32], k: int, where: SearchFilter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        if k < 1:
            raise InvalidInput("k must be at least 1")
        check_vector(vector, self._dim)
        hits = [
            Hit(score=_cosine(vector.tolist(), unpack_vector(entry.vector).tolist()), entry=entry)
            for entry in self.entries.values()
            if _may_be_returned(entry, where or SearchFilter())
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.entry.item_id))[:k]

    def __len__(self) -> int:
        return len(self.entries)

    def _known(self, item_id: str) -> Version | None:
        entry = self.entries.get(item_id)
        return entry.version if entry is not None else self.removed.get(item_id)


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def _may_be_returned(entry: IndexEntry, where: SearchFilter) -> bool:
    shown = entry.visibility == "public" or entry.owner_id == where.include_private_of
    return (
        entry.state == "active"
        and not entry.unsafe
        and shown
        and where.owner_id in (None, entry.owner_id)
        and where.category in (None, entry.category)
        and where.language in (None, entry.language)
        and where.kind in (None, entry.kind)
        and (not where.tags_any or any(tag in entry.tags for tag in where.tags_any))
        and where.region not in entry.blocked_regions
        and entry.item_id not in where.exclude_item_ids
        and entry.category not in where.exclude_categories
    )

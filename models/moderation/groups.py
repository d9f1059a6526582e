"""Groups of near-duplicate texts (MinHash), and folds that keep a group together: what is tested was never trained on.

A. Broder, On the resemblance and containment of documents (1997); banding as in Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3.
"""

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SHINGLE = 5  # characters
_HASHES, _BANDS = 64, 16
_ALIKE = 0.6  # share of equal hashes from which two texts are near-duplicates
_LONGEST = 1_500
_SPACE = re.compile(r"[\W_]+")


def near_duplicate_groups(texts: Sequence[str], given: Sequence[str] = ()) -> NDArray[np.int64]:
    """Return a group number a text: texts that share most 5-character shingles are in one, and so are their groups.

    `given` names groups that are known already ('' for none); texts with one name are in one group.
    """
    signatures = np.stack([_signature(text) for text in texts]) if texts else np.zeros((0, _HASHES), np.uint64)
    parent = list(range(len(texts)))
    rows = _HASHES // _BANDS
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, signature in enumerate(signatures):
            buckets[signature[band * rows : (band + 1) * rows].tobytes()].append(place)
        for members in buckets.values():
            for other in members[1:]:
                if float((signatures[members[0]] == signatures[other]).mean()) >= _ALIKE:
                    _join(parent, members[0], other)
    first: dict[str, int] = {}
    for place, name in enumerate(given):
        if name:
            _join(parent, first.setdefault(name, place), place)
    roots = [_root(parent, place) for place in range(len(texts))]
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[root] for root in roots], np.int64)


def grouped_folds(
    groups: NDArray[np.int64], strata: Sequence[str], *, folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Return a fold number a text: groups are whole, and each stratum (source) is spread evenly over the folds."""
    first: dict[int, int] = {}
    for place, group in enumerate(groups):
        first.setdefault(int(group), place)
    order = sorted(first, key=lambda group: hashlib.sha256(f"{seed}/{first[group]}".encode()).digest())
    sizes = np.bincount(groups)
    filled: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(folds, np.int64))
    fold_of = {}
    for group in order:
        counts = filled[strata[first[group]]]
        fold = int(np.argmin(counts))
        counts[fold] += sizes[group]
        fold_of[group] = fold
    return np.array([fold_of[int(group)] for group in groups], np.int64)


def _signature(text: str) -> NDArray[np.uint64]:
    plain = _SPACE.sub(" ", text[:_LONGEST].lower()).strip() or text[:_LONGEST]
    data = plain.encode("utf-8", "replace")
    ends = max(len(data) - _SHINGLE + 1, 1)
    shingles = {zlib.crc32(data[start : start + _SHINGLE]) for start in range(ends)}
    hashed = np.fromiter(shingles, np.uint64, len(shingles))
    # Multiply-shift (Dietzfelbinger et al. 1997): products wrap at 64 bits, the upper half is the hash.
    mixed = ((hashed[:, None] ^ _MASKS) * _MULTIPLIERS) >> np.uint64(32)
    smallest: NDArray[np.uint64] = mixed.min(axis=0)
    return smallest


def _draw() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    generator = np.random.default_rng(7)
    odd = generator.integers(0, 1 << 63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return odd, generator.integers(0, 1 << 32, _HASHES, dtype=np.uint64)


_MULTIPLIERS, _MASKS = _draw()


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _join(parent: list[int], left: int, right: int) -> None:
    parent[_root(parent, right)] = _root(parent, left)

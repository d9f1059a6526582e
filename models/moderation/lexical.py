"""Words and parts of words as a fixed number of columns (hashing): what an embedding of the meaning blurs, such as
which word exactly was used. Feature hashing with signs: Weinberger et al. 2009, arXiv 0902.2206.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

COLUMNS = 2_048
_GRAMS = (2, 3, 4)  # characters of a part
_WHOLE = 2.0  # a whole word counts as much as this many parts
_LONGEST = 1_000  # characters of a text
_LONGEST_WORD = 40


def hashed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return `(n, 2048)` rows of length 1 (or 0, where there are no words)."""
    rows = np.zeros((len(texts), COLUMNS), np.float32)
    for row, text in enumerate(texts):
        words = [_parts(word[:_LONGEST_WORD]) for word in text[:_LONGEST].lower().split()]
        if words:
            places = np.concatenate([places for places, _ in words])
            filled = np.bincount(places, np.concatenate([weights for _, weights in words]), COLUMNS)
            length = float(np.linalg.norm(filled))
            rows[row] = filled / length if length else 0.0
    return rows


@lru_cache(maxsize=50_000)
def _parts(word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return columns and signed weights of a word and its parts."""
    data = f"<{word}>".encode("utf-8", "replace")
    parts = [data[start : start + gram] for gram in _GRAMS for start in range(max(1, len(data) - gram + 1))]
    values = np.array([zlib.crc32(part) for part in [*parts, data]], np.int64)
    weights = np.where(values >> 31, 1.0, -1.0)
    weights[-1] *= _WHOLE
    return values % COLUMNS, weights

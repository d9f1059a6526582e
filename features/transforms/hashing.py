"""Feature hashing: categories without a vocabulary, at the price of collisions."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput


@dataclass(frozen=True)
class FeatureHashing:
    """The hashing trick (Weinberger et al., 2009): each feature adds +1 or -1 to one of `size` columns.

    The sign comes from the hash, too, so that collisions cancel on average and inner products stay unbiased. The hash
    is BLAKE2b keyed by `seed`: the same on every machine and in every process, unlike Python's `hash`.
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidInput(f"feature hashing needs at least one column, got {self.size}")

    def index(self, feature: str) -> tuple[int, float]:
        """Return the column and the sign of a feature, e.g. `tag=zebra`."""
        key = self.seed.to_bytes(8, "big", signed=True)
        digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=9, key=key).digest(), "big")
        return (digest >> 1) % self.size, 1.0 if digest & 1 else -1.0

    def apply(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return `(n, size)`: the sum of the signed columns of each row's features."""
        hashed = np.zeros((len(rows), self.size), np.float32)
        for row, features in enumerate(rows):
            for feature in features:
                column, sign = self.index(feature)
                hashed[row, column] += sign
        return hashed

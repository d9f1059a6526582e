"""Categories as numbers: integer, one-hot, and the index of a row in a learned embedding table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput


@dataclass(frozen=True)
class IntegerEncoding:
    """Each category is its rank in `categories`, counted from 1; what is unknown or missing is 0.

    Right where the order means something ("Bad", "Good", "Excellent"); else use `OneHotEncoding`.
    """

    categories: tuple[str, ...]
    _ranks: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ranks", _ranks(self.categories, first=1))

    def apply(self, values: Sequence[str | None]) -> NDArray[np.int64]:
        """Return `(n,)` ranks in `[0, len(categories)]`."""
        return np.fromiter((self._ranks.get(value, 0) if value is not None else 0 for value in values), np.int64)


@dataclass(frozen=True)
class OneHotEncoding:
    """One column per category, 1 in the column of the value; all zero for an unknown or missing one."""

    categories: tuple[str, ...]
    _ranks: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ranks", _ranks(self.categories, first=0))

    @classmethod
    def fit(cls, values: Sequence[str | None]) -> "OneHotEncoding":
        """Learn the categories, in alphabetical order."""
        return cls(tuple(sorted({value for value in values if value is not None})))

    def apply(self, values: Sequence[str | None]) -> NDArray[np.float32]:
        """Return `(n, len(categories))` zeros and ones."""
        encoded = np.zeros((len(values), len(self.categories)), np.float32)
        for row, value in enumerate(values):
            column = self._ranks.get(value) if value is not None else None
            if column is not None:
                encoded[row, column] = 1.0
        return encoded


@dataclass(frozen=True)
class EmbeddingIndex:
    """The row of each category in an embedding table that a model learns.

    Row 0 is padding (missing), row 1 is shared by everything unknown, the categories follow, most frequent first.
    """

    categories: tuple[str, ...]
    _ranks: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ranks", _ranks(self.categories, first=2))

    @classmethod
    def fit(cls, values: Sequence[str | None], *, max_size: int, min_count: int = 1) -> "EmbeddingIndex":
        """Keep the categories seen at least `min_count` times, at most as many as a table of `max_size` rows holds."""
        if max_size < 2:
            raise InvalidInput(f"an embedding table needs at least 2 rows (missing, unknown), got {max_size}")
        counted = Counter(value for value in values if value is not None)
        ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls(tuple(value for value, count in ranked if count >= min_count)[: max_size - 2])

    @property
    def size(self) -> int:
        """The number of rows the table needs."""
        return len(self.categories) + 2

    def apply(self, values: Sequence[str | None]) -> NDArray[np.int64]:
        """Return `(n,)` rows in `[0, size)`."""
        return np.fromiter((0 if value is None else self._ranks.get(value, 1) for value in values), np.int64)


def _ranks(categories: tuple[str, ...], *, first: int) -> dict[str, int]:
    ranks = {category: first + index for index, category in enumerate(categories)}
    if len(ranks) != len(categories):
        raise InvalidInput("a category is listed twice")
    return ranks

"""Which regions a video is blocked in: a column holds the number of a set of regions, for most videos the empty one."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class RegionSets:
    """Sets of regions by number; number 0 is the empty set. One writer."""

    def __init__(self, sets: Iterable[Iterable[str]] = ((),)) -> None:
        self.sets: list[frozenset[str]] = []
        self._numbers: dict[frozenset[str], int] = {}
        self._blocks: dict[str, NDArray[np.bool_]] = {}  # region -> whether each set has it, as far as looked at
        for regions in sets:
            self.add(regions)

    def add(self, regions: Iterable[str]) -> int:
        """Return the number of a set, a new one if need be."""
        wanted = frozenset(regions)
        number = self._numbers.get(wanted)
        if number is None:
            number = len(self.sets)
            self.sets.append(wanted)
            self._numbers[wanted] = number
        return number

    def blocked(self, numbers: NDArray[np.int32], region: str) -> NDArray[np.bool_]:
        """Return, for each set number, whether the set has the region."""
        known = self._blocks.get(region)
        if known is None or known.size < len(self.sets):
            start = 0 if known is None else known.size
            new = [region in regions for regions in self.sets[start:]]
            if known is None and not any(new):
                return np.zeros(numbers.shape, np.bool_)  # not remembered: anybody may ask for any region
            known = np.concatenate([known if known is not None else np.zeros(0, np.bool_), np.array(new, np.bool_)])
            self._blocks[region] = known
        return known[numbers]

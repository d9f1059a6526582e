"""The vector index that answers now."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.ports import Hit, SearchFilter
from models.index import LiveIndex


class ServedIndex:
    """The index that searches use now. The follower replaces it when it had to build another from the beginning."""

    def __init__(self, index: LiveIndex) -> None:
        self.current = index
        self.epoch = ""
        self.positions: Mapping[int, int] = {}

    def search(
        self, vector: NDArray[np.float32], k: int, where: SearchFilter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """Search the index that is current now."""
        return self.current.search(vector, k, where, exact=exact)

    def describe(self) -> dict[str, Any]:
        """Return what identifies the state that a search saw: size, place in the log, model."""
        return {
            "items": len(self.current),
            "model_version": self.current.model_version,
            "epoch": self.epoch,
            "positions": {str(partition): offset for partition, offset in sorted(self.positions.items())},
        }

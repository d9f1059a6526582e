"""A forest of random-projection trees, the structure behind the `tree` kind.

FAISS has no tree. This is the scheme of Annoy (github.com/spotify/annoy, after Dasgupta and Freund, 2008): each node
splits its points by the hyperplane between two of them, at the median, so a tree is perfectly balanced and its shape is
arithmetic rather than pointers; a search walks all trees at once, best margin first.
"""

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAF_SIZE = 32


class Forest:
    """Balanced trees over `n` vectors of `dim` values; nothing changes once each tree is grown."""

    def __init__(self, dim: int, n: int, *, trees: int, leaf_size: int = LEAF_SIZE) -> None:
        self._n, self._dim = n, dim
        self.trees = trees
        self.leaf_size = leaf_size
        self._depth = max(0, int(np.ceil(np.log2(max(1, self._n) / leaf_size))))
        inner = 2**self._depth - 1
        self._normals = np.zeros((trees, inner, self._dim), dtype=np.float16)
        self._thresholds = np.zeros((trees, inner), dtype=np.float32)
        self._order = np.empty((trees, self._n), dtype=np.int32)

    @classmethod
    def restore(cls, dim: int, n: int, arrays: Mapping[str, NDArray[Any]]) -> "Forest":
        """Return the forest whose `arrays()` these are."""
        forest = cls(dim, n, trees=len(arrays["order"]))
        forest._normals, forest._thresholds = arrays["normals"], arrays["thresholds"]
        forest._order = arrays["order"]
        return forest

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the forest is made of."""
        return {"normals": self._normals, "thresholds": self._thresholds, "order": self._order}

    def grow(self, tree: int, vectors: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Split the `(n, dim)` vectors down to leaves; every tree needs this once, before the first search."""
        order = np.arange(self._n, dtype=np.int32)
        for level in range(self._depth):
            for place in range(1 << level):
                start, stop = self._span(level, place)
                middle, _ = self._span(level + 1, 2 * place + 1)
                rows = order[start:stop]
                first, second = vectors[rng.choice(rows, size=2, replace=rows.size < 2)]
                normal = first - second
                length = float(np.linalg.norm(normal))
                if length < 1e-6:  # the two are copies of each other: any plane is as good
                    normal, length = rng.standard_normal(self._dim, dtype=np.float32), 1.0
                normal = (normal / length).astype(np.float16)
                sides = vectors[rows] @ normal.astype(np.float32)
                split = middle - start
                ranked = np.argpartition(sides, split)
                order[start:stop] = rows[ranked]
                node = (1 << level) - 1 + place
                self._normals[tree, node] = normal
                self._thresholds[tree, node] = sides[ranked[split]]
        self._order[tree] = order

    def near(self, query: NDArray[np.float32], want: int) -> NDArray[np.int64]:
        """Return about `want` distinct rows from the leaves whose cells are closest to a `(dim,)` query."""
        # A leaf's priority is the worst margin on its path: 0 while the query is on the right side of every plane.
        heap: list[tuple[float, int, int, int]] = [(0.0, tree, 0, 0) for tree in range(self.trees)]
        leaves: list[NDArray[np.int32]] = []
        collected = 0
        while heap and collected < want:
            worst, tree, level, place = heapq.heappop(heap)
            while level < self._depth:
                node = (1 << level) - 1 + place
                margin = float(self._normals[tree, node] @ query) - float(self._thresholds[tree, node])
                right = margin > 0
                heapq.heappush(heap, (max(worst, abs(margin)), tree, level + 1, 2 * place + (not right)))
                level, place = level + 1, 2 * place + right
            start, stop = self._span(level, place)
            leaves.append(self._order[tree, start:stop])
            collected += stop - start
        if not leaves:
            return np.zeros(0, dtype=np.int64)
        return np.unique(np.concatenate(leaves)).astype(np.int64)

    def size_bytes(self) -> int:
        return self._normals.nbytes + self._thresholds.nbytes + self._order.nbytes

    def _span(self, level: int, place: int) -> tuple[int, int]:
        return place * self._n >> level, (place + 1) * self._n >> level

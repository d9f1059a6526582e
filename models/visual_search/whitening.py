"""A second baseline: the frozen features, whitened. It needs no training, so training has to beat it too."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.ports import ImageEncoder


class WhitenedEncoder:
    """Another encoder's points, centred, projected to principal components and half whitened."""

    def __init__(self, base: ImageEncoder, sample: NDArray[np.float32], *, dim: int = 256) -> None:
        """Fit on `sample`, `(n, base.dim)` points of images that are not tested on."""
        self._base = base
        self._mean = sample.mean(0)
        _, singular, components = np.linalg.svd(sample - self._mean, full_matrices=False)
        deviation = np.maximum(singular[:dim], 1e-6) / np.sqrt(max(1, len(sample) - 1))
        self._components = components[:dim] / np.sqrt(deviation)[:, None]

    @property
    def dim(self) -> int:
        return len(self._components)

    @property
    def version(self) -> str:
        return f"{self._base.version}-whitened"

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images into `(n, dim)` float32 rows of length 1."""
        points = (self._base.encode(images) - self._mean) @ self._components.T
        lengths = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
        return np.asarray(points / lengths, dtype=np.float32)

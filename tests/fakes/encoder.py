"""An image encoder without a model: a vector of colour statistics."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class FakeImageEncoder:
    """Embeds an image as its mean colours over a 4 x 4 grid: similar pictures get similar vectors.

    Images in `fails_on_height` make `encode` raise, whatever else is in the batch, as a real encoder would.
    """

    dim = 48
    version = "visual-search/fake"

    def __init__(self, *, fails_on_height: int | None = None) -> None:
        self.fails_on_height = fails_on_height
        self.batches: list[int] = []

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        if any(image.shape[0] == self.fails_on_height for image in images):
            raise RuntimeError("this image cannot be embedded")
        return np.stack([self._embed(image) for image in images])

    def _embed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.array_split(image.astype(np.float32) + 1.0, 4, axis=0)
        cells = [cell for row in rows for cell in np.array_split(row, 4, axis=1)]
        means = [cell.mean(axis=(0, 1)) if cell.size else np.ones(3) for cell in cells]
        vector = np.concatenate(means).astype(np.float32)
        return vector / np.linalg.norm(vector)

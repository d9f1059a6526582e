"""From decoded images to a network's input, one code path for training, evaluation and serving."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.errors import InvalidInput


def on_white(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `(H, W, 3)` RGB; an `(H, W, 4)` image is composited onto white, as a page would show it."""
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInput(f"an image must be (H, W, 3) or (H, W, 4) uint8, got {image.shape} {image.dtype}")
    if image.shape[2] == 3:
        return image
    alpha = image[:, :, 3:].astype(np.float32) / 255
    blended = image[:, :, :3] * alpha + 255 * (1 - alpha)
    return np.rint(blended).astype(np.uint8)


def square(image: NDArray[np.uint8], px: int) -> Tensor:
    """Return the whole image as `(3, px, px)` uint8, padded with white to a square so that nothing is distorted."""
    rgb = on_white(image)
    height, width = rgb.shape[:2]
    scale = px / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = torch.from_numpy(np.array(rgb, order="C")).permute(2, 0, 1)[None].float()
    resized = functional.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
    canvas = torch.full((3, px, px), 255, dtype=torch.uint8)
    top, left = (px - size[0]) // 2, (px - size[1]) // 2
    canvas[:, top : top + size[0], left : left + size[1]] = resized[0].clamp(0, 255).round().to(torch.uint8)
    return canvas


def lite_input(images: Tensor) -> Tensor:
    """Scale `(B, 3, H, W)` uint8 to what EfficientNet-Lite was trained on: (RGB - 127) / 128."""
    return (images.float() - 127) / 128


def batches(images: Sequence[NDArray[np.uint8]], px: int, size: int) -> list[Tensor]:
    """Return the images as `(<= size, 3, px, px)` uint8 tensors, in order."""
    return [
        torch.stack([square(image, px) for image in images[start : start + size]])
        for start in range(0, len(images), size)
    ]

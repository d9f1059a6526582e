"""Pictures for tests."""

import io

import numpy as np
from PIL import Image


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """Return the image as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def quadrants() -> Image.Image:
    """Return 400 x 200 pixels: red and green above blue and black."""
    image = Image.new("RGB", (400, 200))
    image.paste((255, 0, 0), (0, 0, 200, 100))
    image.paste((0, 255, 0), (200, 0, 400, 100))
    image.paste((0, 0, 255), (0, 100, 200, 200))
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image of independent random pixels, which compresses badly."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image of soft random blobs, as photographs are."""
    return noise(8, 8, seed).resize((width, height), Image.Resampling.BICUBIC)

"""Blurring: what reviewers are shown of a picture until they ask for it, enough to know that there is one."""

import io

from PIL import Image, ImageFilter

_CELLS = 16  # along the longer side: colours and shapes are gone, light and dark stay


def blurred(jpeg: bytes) -> bytes:
    """Return a thumbnail in grey and out of focus, of the same size. Nothing of what is lost can be got back."""
    with Image.open(io.BytesIO(jpeg)) as image:
        size = image.size
        grey = image.convert("L")
    grey.thumbnail((_CELLS, _CELLS), Image.Resampling.BOX)
    soft = grey.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(max(size) / _CELLS / 2))
    buffer = io.BytesIO()
    soft.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()

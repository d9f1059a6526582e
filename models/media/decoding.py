"""Decode one untrusted image to canonical RGB pixels. Runs in the decoding process only.

Every limit that the file itself states (dimensions) is checked from its header, before a pixel is decoded; what it
does not state (memory, time) is limited from outside by the process. Colour profiles are ignored: converting them
means parsing them, and embeddings hardly move. Animations are represented by their first frame.
"""

import io
import math
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from models.media.messages import ImageLimits

_FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]
_ORIENTATION_TAG = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[float, float, float, float]


class OverLimit(Exception):
    """The image states dimensions over a limit."""


@dataclass(frozen=True)
class Header:
    """What the header says: dimensions as shown, and the number of frames (counted up to the limit)."""

    width: int
    height: int
    frames: int


def read_header(data: bytes, limits: ImageLimits) -> Header:
    """Return what the header says, without decoding pixels. Raises OverLimit, or whatever Pillow raises."""
    with _open(data, limits) as image:
        width, height = _shown_size(image)
        return Header(width, height, _count_frames(image, data, limits.max_frames))


def decode(data: bytes, crop: Box, limits: ImageLimits) -> tuple[Header, Image.Image]:
    """Return the header and the cropped image: RGB, upright, on white, longest side at most `decode_px`.

    `crop` is x, y, width, height as fractions of the image as it is shown. Raises OverLimit, MemoryError, or
    whatever Pillow raises for bytes that do not decode.
    """
    with _open(data, limits) as image:
        header = Header(*_shown_size(image), _count_frames(image, data, limits.max_frames))
        orientation = _orientation(image)
        if image.format == "JPEG":
            _decode_small(image, crop, orientation, limits.decode_px)
        image.load()
        _check_size(image, limits)  # a decoder may have corrected the header
        upright = image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image
        region = cut(upright, crop)
        return header, _on_white(shrink(_with_channels(region), limits.decode_px))


def perceptual_hash(image: Image.Image) -> int:
    """Return the 64-bit DCT hash (pHash) of an image; similar images differ in few bits."""
    return int(str(imagehash.phash(image)), 16)


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    _check_size(image, limits)
    return image


def _check_size(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise OverLimit(f"the image is {width} x {height}; a side may have {limits.max_side} pixels")
    if width * height > limits.max_pixels:
        raise OverLimit(f"the image is {width} x {height}; it may have {limits.max_pixels} pixels in all")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except MemoryError:
        raise
    except Exception:  # EXIF is a file format of its own inside the file; a broken one costs the image its rotation
        return 1


def _shown_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _count_frames(image: Image.Image, data: bytes, limit: int) -> int:
    if image.format == "GIF":  # the only one of the four that does not state it
        return _count_gif_frames(data, limit)
    return max(1, min(limit, int(getattr(image, "n_frames", 1))))


def _count_gif_frames(data: bytes, limit: int) -> int:
    """Walk a GIF's blocks (GIF89a specification, appendix B) and count image descriptors, up to `limit`."""
    if len(data) < 13:
        return 1
    position = 13 + _colour_table_bytes(data[10])
    frames = 0
    while position < len(data) and frames < limit:
        kind = data[position]
        if kind == 0x21:  # extension: label, then sub-blocks
            position = _after_sub_blocks(data, position + 2)
        elif kind == 0x2C and position + 9 < len(data):  # image: descriptor, colour table, code size, sub-blocks
            frames += 1
            position = _after_sub_blocks(data, position + 11 + _colour_table_bytes(data[position + 9]))
        else:
            break
    return max(1, frames)


def _colour_table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _decode_small(image: Image.Image, crop: Box, orientation: int, decode_px: int) -> None:
    """Have libjpeg decode at 1/2, 1/4 or 1/8 scale where the crop still has at least `decode_px` pixels."""
    across, down = (crop[3], crop[2]) if orientation in (5, 6, 7, 8) else (crop[2], crop[3])
    factor = decode_px / max(across * image.width, down * image.height)
    if factor < 1:
        size = (math.ceil(image.width * factor), math.ceil(image.height * factor))
        image.draft("L" if image.mode == "L" else "RGB", size)


def cut(image: Image.Image, crop: Box) -> Image.Image:
    if crop == (0.0, 0.0, 1.0, 1.0):
        return image
    x, y, width, height = crop
    left = min(int(x * image.width), image.width - 1)
    top = min(int(y * image.height), image.height - 1)
    right = min(max(left + 1, round((x + width) * image.width)), image.width)
    bottom = min(max(top + 1, round((y + height) * image.height)), image.height)
    return image.crop((left, top, right, bottom))


def _with_channels(image: Image.Image) -> Image.Image:
    """Return RGB, or RGBA where there is transparency."""
    if image.mode.startswith(("I", "F")):  # 16-bit grey: Pillow's own conversion would clip instead of scale
        values = np.asarray(image, dtype=np.float32)
        grey = np.nan_to_num(values / 257.0, nan=0.0).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGB", "RGBA"):
        return image if "transparency" not in image.info else image.convert("RGBA")
    transparent = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def shrink(image: Image.Image, decode_px: int) -> Image.Image:
    factor = decode_px / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    white.alpha_composite(image)
    return white.convert("RGB")

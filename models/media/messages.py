"""The messages between the parent and a decoding process: fixed binary headers, each followed by a payload.

Nothing is unpickled or parsed on the parent's side: a reply is one struct and at most `decode_px`² × 3 bytes.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

_REQUEST = struct.Struct("<IBdddd")  # payload bytes, operation, crop x, y, width, height
_REPLY = struct.Struct("<BIIIHHQI")  # status, width, height, frames, pixels' width and height, phash, payload bytes
REQUEST_BYTES = _REQUEST.size
REPLY_BYTES = _REPLY.size
MAX_MESSAGE_BYTES = 1_000


@dataclass(frozen=True)
class ImageLimits:
    """What an image may be: pixels in all, pixels of a side, frames counted, longest side of what comes out."""

    max_pixels: int
    max_side: int
    max_frames: int
    decode_px: int


class Operation(IntEnum):
    DECODE = 1
    PROBE = 2


class Status(IntEnum):
    READY = 0  # sent once, when the process has confined itself
    OK = 1
    UNDECODABLE = 2
    TOO_LARGE = 3
    OUT_OF_MEMORY = 4


@dataclass(frozen=True)
class Request:
    """One image to look at: `size_bytes` of payload follow. `crop` is x, y, width, height as fractions."""

    operation: Operation
    size_bytes: int
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def pack(self) -> bytes:
        return _REQUEST.pack(self.size_bytes, self.operation, *self.crop)

    @classmethod
    def unpack(cls, header: bytes) -> "Request":
        size_bytes, operation, *crop = _REQUEST.unpack(header)
        return cls(Operation(operation), size_bytes, (crop[0], crop[1], crop[2], crop[3]))


@dataclass(frozen=True)
class Reply:
    """What became of it: the payload is RGB pixels after OK, a message in UTF-8 after anything else.

    `width`, `height` are those of the whole image as it is shown (its EXIF orientation applied); `pixels_width`,
    `pixels_height` those of the payload.
    """

    status: Status
    width: int = 0
    height: int = 0
    frames: int = 0
    pixels_width: int = 0
    pixels_height: int = 0
    phash: int = 0
    size_bytes: int = 0

    def pack(self) -> bytes:
        return _REPLY.pack(
            self.status,
            self.width,
            self.height,
            self.frames,
            self.pixels_width,
            self.pixels_height,
            self.phash,
            self.size_bytes,
        )

    @classmethod
    def unpack(cls, header: bytes) -> "Reply":
        """Read `pack()` back. Raises ValueError when the status is none that exists."""
        status, *numbers = _REPLY.unpack(header)
        return cls(Status(status), *numbers)

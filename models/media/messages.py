"""The messages between the parent and a decoding process: fixed binary headers, each followed by a payload.

Nothing is unpickled or parsed on the parent's side: a reply is one struct and, for each frame, a hash and at most
`decode_px`² × 3 bytes.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

_REQUEST = struct.Struct("<IBBHdddd")  # payload bytes, operation, container, frames, crop x, y, width, height
_REPLY = struct.Struct("<BIIIIHHHI")  # status, width, height, frames, ms, pixels' width, height, frames; payload bytes
REQUEST_BYTES = _REQUEST.size
REPLY_BYTES = _REPLY.size
PHASH_BYTES = 8  # of each frame in a payload, before the pixels of the first
MAX_MESSAGE_BYTES = 1_000


@dataclass(frozen=True)
class ImageLimits:
    """What an image may be: pixels in all, pixels of a side, frames counted, longest side of what comes out."""

    max_pixels: int
    max_side: int
    max_frames: int
    decode_px: int


@dataclass(frozen=True)
class VideoLimits:
    """What a video may be: pixels of a frame and of a side, frames, seconds; and how much of it is decoded.

    `frame_cost` is what decoding may cost for each frame that is wanted, in pixels (`models.media.sampling`).
    """

    max_pixels: int
    max_side: int
    max_frames: int
    max_duration_s: float
    frame_cost: int
    decode_px: int


class Operation(IntEnum):
    DECODE = 1
    PROBE = 2


class Container(IntEnum):
    """What the parent found by the first bytes: a still or animated image, or one of the video containers."""

    IMAGE = 0
    MP4 = 1  # and QuickTime
    WEBM = 2
    AVI = 3


class Status(IntEnum):
    READY = 0  # sent once, when the process has confined itself
    OK = 1
    UNDECODABLE = 2
    TOO_LARGE = 3
    OUT_OF_MEMORY = 4


@dataclass(frozen=True)
class Request:
    """One file to look at: `size_bytes` of payload follow. `crop` is x, y, width, height as fractions.

    `frames`: how many of a video's frames are wanted at most; an image has one.
    """

    operation: Operation
    size_bytes: int
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    container: Container = Container.IMAGE
    frames: int = 1

    def pack(self) -> bytes:
        return _REQUEST.pack(self.size_bytes, self.operation, self.container, self.frames, *self.crop)

    @classmethod
    def unpack(cls, header: bytes) -> "Request":
        size_bytes, operation, container, frames, *crop = _REQUEST.unpack(header)
        box = (crop[0], crop[1], crop[2], crop[3])
        return cls(Operation(operation), size_bytes, box, Container(container), frames)


@dataclass(frozen=True)
class Reply:
    """What became of it: after OK the payload is the hashes of the frames shown, then their RGB pixels.

    After anything else it is a message in UTF-8. `width`, `height` are those of the whole picture as it is shown (its
    orientation applied), `frames` those there are, `duration_ms` 0 for an image; `pixels_width`, `pixels_height` those
    of each of the `shown` frames of the payload. All numbers of what is not in the payload (of a probe) are 0.
    """

    status: Status
    width: int = 0
    height: int = 0
    frames: int = 0
    duration_ms: int = 0
    pixels_width: int = 0
    pixels_height: int = 0
    shown: int = 0
    size_bytes: int = 0

    def pack(self) -> bytes:
        return _REPLY.pack(
            self.status,
            self.width,
            self.height,
            self.frames,
            self.duration_ms,
            self.pixels_width,
            self.pixels_height,
            self.shown,
            self.size_bytes,
        )

    @classmethod
    def unpack(cls, header: bytes) -> "Reply":
        """Read `pack()` back. Raises ValueError when the status is none that exists."""
        status, *numbers = _REPLY.unpack(header)
        return cls(Status(status), *numbers)

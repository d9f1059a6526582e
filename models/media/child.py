"""The decoding process: `python -m models.media.child LIMITS`. Reads requests on stdin, answers on stdout.

Anything can happen to this process: it is killed when it takes too long, and replaced. It must import little.
"""

import io
import json
import os
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import av
import av.logging
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

from models.media.decoding import OverLimit, decode, perceptual_hash, read_header
from models.media.messages import (
    MAX_MESSAGE_BYTES,
    REQUEST_BYTES,
    Container,
    ImageLimits,
    Operation,
    Reply,
    Request,
    Status,
    VideoLimits,
)
from models.media.sandbox import allow_cpu_time, confine
from models.media.video import decode_video, read_video_header

_IN, _OUT, _ERR = 0, 1, 2


def main() -> None:
    """Confine this process, say so, then answer requests until stdin ends."""
    options = json.loads(sys.argv[1])
    images, videos = ImageLimits(**options["images"]), VideoLimits(**options["videos"])
    # Pillow's guard knows one number and speaks of bombs; ours are checked at the same moment and say what is allowed.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")  # odd metadata does not make a good photograph bad; stderr is for crashes
    av.logging.set_level(None)  # what is wrong with a file is said once, in the reply
    _warm_up(images, videos)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    os.set_blocking(_ERR, False)  # a native library that prints a lot must not block on a full pipe
    steps = confine(options["memory_bytes"], options["parent_pid"])
    _send(Reply(Status.READY), " ".join(steps).encode())
    while header := _receive(REQUEST_BYTES):
        request = Request.unpack(header)
        is_image = request.container is Container.IMAGE
        allow_cpu_time(options["timeout_s"] if is_image else options["video_timeout_s"])
        data = _receive(request.size_bytes)
        look = partial(_image, request, data, images) if is_image else partial(_video, request, data, videos)
        _send(*_answer(look))


def _image(request: Request, data: bytes, limits: ImageLimits) -> tuple[Reply, bytes]:
    if request.operation is Operation.PROBE:
        header = read_header(data, limits)
        return Reply(Status.OK, header.width, header.height, header.frames), b""
    header, image = decode(data, request.crop, limits)
    return _shown(Reply(Status.OK, header.width, header.height, header.frames), [image])


def _video(request: Request, data: bytes, limits: VideoLimits) -> tuple[Reply, bytes]:
    pictures: list[Image.Image] = []
    if request.operation is Operation.PROBE:
        header = read_video_header(data, request.container, limits)
    else:
        header, pictures = decode_video(data, request.container, request.frames, request.crop, limits)
    duration_ms = round(1000 * header.duration_s)
    return _shown(Reply(Status.OK, header.width, header.height, header.frames, duration_ms), pictures)


def _shown(reply: Reply, pictures: list[Image.Image]) -> tuple[Reply, bytes]:
    if not pictures:
        return reply, b""
    hashes = struct.pack(f"<{len(pictures)}Q", *(perceptual_hash(picture) for picture in pictures))
    width, height = pictures[0].size
    reply = replace(reply, pixels_width=width, pixels_height=height, shown=len(pictures))
    return reply, b"".join((hashes, *(picture.tobytes() for picture in pictures)))


def _answer(look: Callable[[], tuple[Reply, bytes]]) -> tuple[Reply, bytes]:
    try:
        return look()
    except OverLimit as error:
        return Reply(Status.TOO_LARGE), _describe(error)
    except MemoryError:
        return Reply(Status.OUT_OF_MEMORY), b""
    except Exception as error:  # Pillow and PyAV raise nearly anything (SyntaxError, struct.error, IndexError ...)
        return Reply(Status.UNDECODABLE), _describe(error)


def _describe(error: Exception) -> bytes:
    text = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
    if isinstance(error, FFmpegError):  # without the number and the name of a file that has none
        text = error.strerror or ""
    text = text or type(error).__name__
    return text.encode(errors="replace")[:MAX_MESSAGE_BYTES]


def _warm_up(images: ImageLimits, videos: VideoLimits) -> None:
    """Decode one image of each format and a video, so that no plug-in or library is left to be loaded once confined."""
    whole = (0.0, 0.0, 1.0, 1.0)
    for name in ("JPEG", "PNG", "WEBP", "GIF"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, name)
        perceptual_hash(decode(buffer.getvalue(), whole, images)[1])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as file:
        stream = file.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.codec_context.thread_count = 1
        file.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        file.mux(stream.encode())
    decode_video(buffer.getvalue(), Container.AVI, 1, whole, videos)


def _receive(size: int) -> bytes:
    """Return exactly `size` bytes, or b"" when the parent has closed the pipe."""
    buffer = bytearray()
    while len(buffer) < size:
        chunk = os.read(_IN, min(size - len(buffer), 1 << 20))
        if not chunk:
            return b""
        buffer += chunk
    return bytes(buffer)


def _send(reply: Reply, payload: bytes) -> None:
    view = memoryview(replace(reply, size_bytes=len(payload)).pack() + payload)
    while view:
        view = view[os.write(_OUT, view) :]


if __name__ == "__main__":
    main()

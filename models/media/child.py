"""The decoding process: `python -m models.media.child LIMITS`. Reads requests on stdin, answers on stdout.

Anything can happen to this process: it is killed when it takes too long, and replaced. It must import little.
"""

import io
import json
import os
import signal
import sys
import warnings

from PIL import Image, UnidentifiedImageError

from models.media.decoding import OverLimit, decode, perceptual_hash, read_header
from models.media.messages import MAX_MESSAGE_BYTES, REQUEST_BYTES, ImageLimits, Operation, Reply, Request, Status
from models.media.sandbox import allow_cpu_time, confine

_IN, _OUT, _ERR = 0, 1, 2


def main() -> None:
    """Confine this process, say so, then answer requests until stdin ends."""
    options = json.loads(sys.argv[1])
    limits = ImageLimits(**options["limits"])
    # Pillow's guard knows one number and speaks of bombs; ours are checked at the same moment and say what is allowed.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")  # odd metadata does not make a good photograph bad; stderr is for crashes
    _warm_up(limits)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    os.set_blocking(_ERR, False)  # a native library that prints a lot must not block on a full pipe
    steps = confine(options["memory_bytes"], options["parent_pid"])
    _send(Reply(Status.READY), " ".join(steps).encode())
    while header := _receive(REQUEST_BYTES):
        request = Request.unpack(header)
        allow_cpu_time(options["timeout_s"])
        _send(*_answer(request, _receive(request.size_bytes), limits))


def _answer(request: Request, data: bytes, limits: ImageLimits) -> tuple[Reply, bytes]:
    try:
        if request.operation is Operation.PROBE:
            header = read_header(data, limits)
            return Reply(Status.OK, header.width, header.height, header.frames), b""
        header, image = decode(data, request.crop, limits)
        phash = perceptual_hash(image)
        sizes = (header.width, header.height, header.frames, image.width, image.height)
        return Reply(Status.OK, *sizes, phash), image.tobytes()
    except OverLimit as error:
        return Reply(Status.TOO_LARGE), _describe(error)
    except MemoryError:
        return Reply(Status.OUT_OF_MEMORY), b""
    except Exception as error:  # Pillow raises nearly anything (SyntaxError, struct.error, IndexError ...)
        return Reply(Status.UNDECODABLE), _describe(error)


def _describe(error: Exception) -> bytes:
    text = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
    text = text or type(error).__name__
    return text.encode(errors="replace")[:MAX_MESSAGE_BYTES]


def _warm_up(limits: ImageLimits) -> None:
    """Decode one image of each format, so that no plug-in or library is left to be loaded once confined."""
    for name in ("JPEG", "PNG", "WEBP", "GIF"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, name)
        perceptual_hash(decode(buffer.getvalue(), (0.0, 0.0, 1.0, 1.0), limits)[1])


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
    sized = Reply(**{**vars(reply), "size_bytes": len(payload)})
    view = memoryview(sized.pack() + payload)
    while view:
        view = view[os.write(_OUT, view) :]


if __name__ == "__main__":
    main()

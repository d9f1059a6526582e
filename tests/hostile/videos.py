"""Hostile videos, made by script: small ones of every container and codec, cut, damaged, and with headers that lie."""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np

from tests.unit.models.media.videos import of_two_sizes

CUTS = 40  # of each kind
DAMAGED = 20  # of each kind
_CONTAINERS = {"mp4": "mpeg4", "mov": "mpeg4", "webm": "libvpx", "matroska": "mpeg4", "avi": "mpeg4"}
_KINDS = {name: (name, codec) for name, codec in _CONTAINERS.items()} | {
    "h264": ("mp4", "libx264"),
    "vp9": ("webm", "libvpx-vp9"),
}


class Video(NamedTuple):
    """One case; `verdict` is what is to become of it: "refused", "video" or "either"."""

    name: str
    data: bytes
    verdict: str = "either"


def video(
    container: str = "mp4", width: int = 64, height: int = 48, frames: int = 10, codec: str | None = None
) -> bytes:
    """Return a video of noise."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec or _CONTAINERS[container], rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        rng = np.random.default_rng(3)
        for _ in range(frames):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        file.mux(stream.encode())
    return buffer.getvalue()


def sound(container: str = "mp4") -> bytes:
    """Return a file with a second of sound and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream("aac", rate=44_100)
        for start in range(0, 44_100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def corpus() -> Iterator[Video]:
    """Yield every case, the same ones each time."""
    whole = {name: video(container, codec=codec) for name, (container, codec) in _KINDS.items()}
    random = np.random.default_rng(5)
    for name, data in whole.items():
        yield Video(f"a whole {name}", data, "refused" if name == "matroska" else "video")
        for part in range(1, CUTS + 1):
            yield Video(f"{name} cut to {part}/{CUTS + 1}", data[: max(16, len(data) * part // (CUTS + 1))])
        for number in range(DAMAGED):
            damaged = np.frombuffer(data, np.uint8).copy()
            places = random.integers(40, len(data), size=1 << (number % 9))  # 1 to 256 bytes
            damaged[places] = random.integers(0, 256, size=len(places))
            yield Video(f"{name} damaged, number {number}", damaged.tobytes())
    mp4 = whole["mp4"]
    yield Video("sound alone", sound(), "refused")
    yield Video("8k pictures", video("mp4", 7680, 4320, frames=1), "refused")
    yield Video("pictures that grow to 10 megapixels", of_two_sizes((64, 48), (4000, 2500), each=2), "refused")
    yield Video("a codec of its own", _patched(mp4, b"mp4v", 0, b"evil"))
    yield Video("data in another file", _patched(mp4, b"url ", 4, b"\0\0\0\0"))
    yield Video("a header of 0 frames a second", _patched(mp4, b"mdhd", 20, struct.pack(">I", 0)))
    yield Video("a header of a million frames", _patched(mp4, b"stts", 12, struct.pack(">I", 1_000_000)))
    yield Video("a header of 4,294,967,295 samples", _patched(mp4, b"stsz", 12, b"\xff" * 4))
    yield Video("a track of 65,535 x 65,535", _patched(mp4, b"tkhd", 84, b"\xff\xff\0\0" * 2))
    yield Video("a box that says it has 4 GB", mp4[:32] + b"\xff\xff\xff\xffmdat" + mp4[40:])
    yield Video("a box inside itself", b"\0\0\0\x20ftypisom" + b"\0\0\0\x08moov" * 10_000)
    yield Video("an HLS playlist", b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data/\n", "refused")
    yield Video("a nested playlist", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/passwd\n", "refused")
    yield Video("a concat list", b"ffconcat version 1.0\nfile /etc/passwd\n", "refused")
    yield Video(
        "a playlist that calls itself an mp4", b"\0\0\0\x18ftypisom" + b"#EXTM3U\nfile:///etc/passwd\n", "refused"
    )
    yield Video("an mp4 that calls itself a JPEG", b"\xff\xd8\xff\xe0" + mp4, "refused")
    yield Video("an mp4 that calls itself a WebP", b"RIFF\x24\0\0\0WEBP" + mp4, "refused")
    yield Video("an mp4 that calls itself an AVI", b"RIFF\x24\0\0\0AVI " + mp4, "refused")


def _patched(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """Return the file with `value` at `offset` from the first `box`'s name."""
    place = data.index(box) + offset
    return data[:place] + value + data[place + len(value) :]

"""Videos for tests."""

import io
from collections.abc import Callable, Sequence

import av
import numpy as np
from PIL import Image

CODECS = {  # of each container that is accepted, and the types they are known by
    ("mp4", "libx264"): "video/mp4",
    ("mov", "libx264"): "video/quicktime",
    ("mp4", "mpeg4"): "video/mp4",
    ("webm", "libvpx"): "video/webm",
    ("webm", "libvpx-vp9"): "video/webm",
    ("avi", "mpeg4"): "video/x-msvideo",
}


def shade(index: int, of: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a grey that tells which frame it is: from dark to light (see `place`)."""
    return Image.new("RGB", size, (20 + 200 * index // of,) * 3)


def place(pixels: np.ndarray, of: int) -> float:
    """Read `shade` back: which frame of how many this is, to within two of a hundred or so."""
    return (float(pixels.mean()) - 20) * of / 200


def video(
    container: str = "mp4",
    codec: str = "libx264",
    *,
    frames: int = 20,
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    gop: int = 5,
    turned: int | None = None,
    picture: Callable[[int], Image.Image] | None = None,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Return a video of shades, or of what `picture` gives; `times` are those of the frames, in 1/rate seconds."""
    options = (
        {"sc_threshold": "0"} if options is None and codec == "libx264" else options or {}
    )  # keyframes at gop only
    draw = picture or (lambda index: shade(index, frames, size))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = gop
        if turned is not None:
            stream.set_display_rotation(turned)
        for index in range(frames):
            frame = av.VideoFrame.from_image(draw(index))
            frame.pts = index if times is None else times[index]
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def of_two_sizes(first: tuple[int, int], second: tuple[int, int], each: int = 5) -> bytes:
    """Return a WebM whose pictures change their size in the middle, without saying so in its header."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as file:
        stream = file.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = *first, "yuv420p"
        for index in range(each):
            frame = av.VideoFrame.from_image(shade(index, 2 * each, first))
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        other = av.CodecContext.create("libvpx", "w")
        other.width, other.height, other.pix_fmt = *second, "yuv420p"
        other.time_base = stream.codec_context.time_base
        packets = []
        for index in range(each, 2 * each):
            frame = av.VideoFrame.from_image(shade(index, 2 * each, second))
            frame.pts, frame.time_base = index, other.time_base
            packets += other.encode(frame)
        for packet in [*packets, *other.encode()]:
            packet.stream = stream
            file.mux(packet)
    return buffer.getvalue()


def of_streams(*codecs: str, container: str = "mp4") -> bytes:
    """Return a file with a stream of pictures or sound for each codec."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        streams = [file.add_stream(codec, rate=44_100 if codec == "aac" else 10) for codec in codecs]
        for stream in streams:
            if stream.type == "video":
                stream.width, stream.height = 64, 48
                stream.pix_fmt = "yuvj420p" if stream.codec_context.name == "mjpeg" else "yuv420p"
        for stream in streams:
            if stream.type == "video":
                for index in range(10):
                    frame = av.VideoFrame.from_image(shade(index, 10))
                    frame.pts = index
                    file.mux(stream.encode(frame))
            else:
                for start in range(0, 44_100, 1024):
                    sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                    sound.sample_rate, sound.pts = 44_100, start
                    file.mux(stream.encode(sound))
            file.mux(stream.encode())
    return buffer.getvalue()

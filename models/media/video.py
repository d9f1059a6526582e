"""Look at some frames of one untrusted video. Runs in the decoding process only.

Bytes are read twice, never sought in: once to learn what packets there are (nothing is decoded, and no number of the
header is believed), once to decode the few that were chosen. Container and codecs come from short lists; there is no
protocol, so that nothing a file names (playlists, references, subtitles) can be opened; sound is not decoded. Pixel
aspect ratios are ignored. docs/architecture.md says what it costs.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame
from PIL import Image

from models.media.decoding import Box, OverLimit, cut, shrink
from models.media.messages import Container, VideoLimits
from models.media.sampling import Packet, Run, beginning, plan

CODECS = ("h264", "vp8", "vp9", "mpeg4")
_FORMATS = {Container.MP4: "mov", Container.WEBM: "matroska", Container.AVI: "avi"}
_MAX_STREAMS = 16
_PACKETS_PER_FRAME = 8  # sound, data and subtitles between two frames
_BREAKS_OFF_AT = 0.9  # of the time a file says it has; index entries and sound may end a little early
_BREAKS_OFF_SLACK_S = 1.0
_PROBE_BYTES = 1_000_000  # of the beginning, at most, from which the library learns what the streams are
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class BrokenVideo(Exception):
    """The video cannot be shown: no picture in it, one that is not accepted, or not all of it is there."""


@dataclass(frozen=True)
class VideoHeader:
    """What is known of a video once its packets were counted. Dimensions are as shown."""

    width: int
    height: int
    frames: int
    duration_s: float


@dataclass(frozen=True)
class _Content:
    packets: list[Packet]  # of the picture, in the order of decoding
    duration_s: float


def read_video_header(data: bytes, container: Container, limits: VideoLimits) -> VideoHeader:
    """Return what the video is; its first frame is decoded, so that what nothing can decode is found out here.

    Raises OverLimit, BrokenVideo, MemoryError, or whatever PyAV raises.
    """
    content = _content(data, container, limits)
    [frame] = _frames(data, container, [beginning(content.packets)], limits)
    return _header(frame, content)


def decode_video(
    data: bytes, container: Container, wanted: int, crop: Box, limits: VideoLimits
) -> tuple[VideoHeader, list[Image.Image]]:
    """Return up to `wanted` frames, spread evenly over the time, cropped: RGB, upright, all of one size.

    The longest side is at most `decode_px`. `crop` is x, y, width, height as fractions of the picture as it is shown.
    Raises as `read_video_header` does; BrokenVideo, too, when a part that was chosen has no frame that decodes.
    """
    content = _content(data, container, limits)
    with _open(data, container, limits) as (_, stream):
        pixels = stream.width * stream.height
    runs = plan(content.packets, wanted, pixels, limits.frame_cost * wanted)
    header: VideoHeader | None = None
    pictures: list[Image.Image] = []
    for frame in _frames(data, container, runs, limits):
        if header is None:  # the first frame says how large all come out: the size may change within a video
            header, size, turned = _header(frame, content), (frame.width, frame.height), _turn(frame)
        pictures.append(_picture(frame, size, turned, crop, limits.decode_px))
    if header is None:
        raise BrokenVideo("there is no frame in it that decodes")
    return header, pictures


@contextmanager
def _open(data: bytes, container: Container, limits: VideoLimits) -> Iterator[tuple[Any, Any]]:
    """Open the file and give it and the one stream of pictures, its decoder limited and confined to this thread."""
    with av.open(
        io.BytesIO(data),
        format=_FORMATS[container],
        options={"max_pixels": str(limits.max_pixels), "threads": "1"},
        container_options={
            "codec_whitelist": ",".join(CODECS),
            "protocol_whitelist": "none",
            "max_streams": str(_MAX_STREAMS),
            "probesize": str(_PROBE_BYTES),
        },
        metadata_errors="replace",
    ) as file:
        # Which of several is shown depends on the player, so there must be one. A cover is not shown as the video.
        streams = [one for one in file.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
        if len(streams) != 1:
            raise BrokenVideo(f"it has {len(streams)} streams of pictures; one is needed")
        stream = streams[0]
        decoder = stream.codec_context
        name = decoder.name if decoder is not None else "unknown"
        if name not in CODECS:
            raise BrokenVideo(f"its codec {name} is not accepted; {', '.join(CODECS)} are")
        _check_size(stream.width, stream.height, limits)
        decoder.options = {"max_pixels": str(limits.max_pixels)}  # the size may change within a video
        decoder.thread_count, decoder.thread_type = 1, "NONE"  # this process may start no thread
        yield file, stream


def _content(data: bytes, container: Container, limits: VideoLimits) -> _Content:
    """Read all packets without decoding one."""
    if container is Container.AVI:  # whose length the library makes up from what is there
        stated = 8 + int.from_bytes(data[4:8], "little")
        if len(data) < stated * _BREAKS_OFF_AT:
            raise BrokenVideo(f"it breaks off after {len(data)} of {stated} bytes")
    found: list[Packet] = []
    start, end = math.inf, -math.inf
    with _open(data, container, limits) as (file, stream):
        stated_s = (file.duration or 0) / av.time_base
        tick_s = {one.index: float(one.time_base or 0) for one in file.streams}
        for count, packet in enumerate(file.demux()):
            if count >= limits.max_frames * _PACKETS_PER_FRAME:
                raise OverLimit(f"the video has more than {count} packets")
            if not packet.size:  # the library's mark for the end
                continue
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                scale = tick_s[packet.stream_index]
                start, end = min(start, time * scale), max(end, (time + (packet.duration or 0)) * scale)
            if packet.stream_index == stream.index:
                known = time if time is not None else (found[-1].time + 1 if found else 0)
                found.append(Packet(known, packet.is_keyframe, packet.size, not packet.is_discard))
                if len(found) > limits.max_frames:
                    raise OverLimit(f"the video has more than {limits.max_frames} frames")
    if not any(packet.is_shown for packet in found):
        raise BrokenVideo("there is no frame in it")
    duration_s = max(0.0, end - start)
    if duration_s > limits.max_duration_s:
        raise OverLimit(f"the video lasts {duration_s:.0f} s; it may last {limits.max_duration_s:g} s")
    shown_s = duration_s * (1 + 1 / len(found))  # some containers do not say how long the last frame is shown
    if shown_s < stated_s * _BREAKS_OFF_AT - _BREAKS_OFF_SLACK_S:
        raise BrokenVideo(f"it breaks off after {duration_s:.1f} of {stated_s:.1f} s")
    first = min(packet.time for packet in found)
    return _Content([replace(packet, time=packet.time - first) for packet in found], duration_s)


def _frames(data: bytes, container: Container, runs: list[Run], limits: VideoLimits) -> Iterator[VideoFrame]:
    """Decode the runs and yield the frames they want. Raises BrokenVideo when a run yields none."""
    with _open(data, container, limits) as (file, stream):
        packets = (packet for packet in file.demux(stream) if packet.size)
        index = -1
        for run in runs:
            last = run.first + run.wanted[-1]
            fed = []
            for packet in packets:
                index += 1
                if index >= run.first:
                    fed.append(packet)
                if index >= last:
                    break
            got = 0
            for frame in _kept(stream.codec_context, fed, run.wanted):
                _check_size(frame.width, frame.height, limits)
                got += 1
                yield frame
            if not got:
                raise BrokenVideo("a part of it does not decode")
            stream.codec_context.flush_buffers()


def _kept(decoder: Any, packets: list[Any], wanted: tuple[int, ...]) -> Iterator[VideoFrame]:
    """Yield the wanted ones of the frames that come out; the last one instead of those that do not."""
    latest: VideoFrame | None = None
    came, kept = sum(packet.is_discard for packet in packets), 0  # those are decoded, and never come out
    for frame in _decoded(decoder, packets):
        latest = frame
        if kept < len(wanted) and came >= wanted[kept]:
            kept += 1
            yield frame
            latest = None
        came += 1
    if latest is not None and kept < len(wanted):
        yield latest


def _decoded(decoder: Any, packets: list[Any]) -> Iterator[VideoFrame]:
    """Yield every frame that comes of the packets. One that does not decode is left out, as players do."""
    for packet in (*packets, None):  # None: what is held back, please
        try:
            yield from decoder.decode(packet)
        except MemoryError:
            raise
        except FFmpegError:
            continue


def _check_size(width: int, height: int, limits: VideoLimits) -> None:
    if max(width, height) > limits.max_side:
        raise OverLimit(f"the video is {width} x {height}; a side may have {limits.max_side} pixels")
    if width * height > limits.max_pixels:
        raise OverLimit(f"the video is {width} x {height}; a frame may have {limits.max_pixels} pixels")
    if min(width, height) < 1:
        raise BrokenVideo("its pictures have no pixels")


def _header(frame: VideoFrame, content: _Content) -> VideoHeader:
    width, height = frame.width, frame.height
    if _turn(frame) in (90, 270):
        width, height = height, width
    return VideoHeader(width, height, len(content.packets), content.duration_s)


def _turn(frame: VideoFrame) -> int:
    """Return by how many degrees, counter-clockwise, the frame is to be turned; odd angles are not."""
    degrees = int(frame.rotation) % 360
    return degrees if degrees in _TURNS else 0


def _picture(frame: VideoFrame, size: tuple[int, int], turned: int, crop: Box, decode_px: int) -> Image.Image:
    across, down = (crop[3], crop[2]) if turned in (90, 270) else (crop[2], crop[3])
    factor = min(1.0, decode_px / max(across * size[0], down * size[1]))
    width, height = (max(1, round(side * factor)) for side in size)
    # One thread, said: the library would start more for large pictures, which this process cannot.
    small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    picture = Image.fromarray(small.to_ndarray())
    upright = picture.transpose(_TURNS[turned]) if turned else picture
    return shrink(cut(upright, crop), decode_px)

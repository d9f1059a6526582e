"""The pool of decoding processes, for asyncio."""

import asyncio
import contextlib
import queue
import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput, Overloaded, TooLarge, Unavailable, UndecodableMedia
from core.ports import Crop
from core.settings import MediaSettings
from models.media.formats import CONTAINERS, sniff_mime
from models.media.messages import PHASH_BYTES, Container, Operation, Reply, Request, Status
from models.media.process import BadReply, DecodingProcess, ProcessEnded, ProcessTimedOut

_WHOLE: Crop = (0.0, 0.0, 1.0, 1.0)
_ROUNDING = 1e-6
_ENDED_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True)
class MediaInfo:
    """What a media file says of itself. `duration_s` is None for images, whose frames are counted up to the limit."""

    kind: str
    mime: str
    width: int
    height: int
    duration_s: float | None
    frames: int


@dataclass(frozen=True)
class DecodedImage:
    """Canonical pixels of an image, or of some frames of a video (or of a crop of it).

    `frames` is `(n, H, W, 3)` RGB uint8: upright, on white, longest side at most `MediaSettings.decode_px`; an image
    has one. `width` and `height` are those of the whole original as it is shown; `phashes` describe what each frame
    shows (16 hex characters).
    """

    frames: NDArray[np.uint8]
    width: int
    height: int
    mime: str
    phashes: tuple[str, ...]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image, or the middle one of the frames: `(H, W, 3)`."""
        middle: NDArray[np.uint8] = self.frames[len(self.frames) // 2]
        return middle

    @property
    def phash(self) -> str:
        return self.phashes[len(self.phashes) // 2]


def check_crop(crop: Crop | None) -> Crop:
    """Return the crop (the whole image for None). Raises InvalidInput when it is not a part of an image."""
    if crop is None:
        return _WHOLE
    x, y, width, height = crop
    within = all(isfinite(value) and 0 <= value <= 1 for value in crop)
    if not within or width <= 0 or height <= 0 or x + width > 1 + _ROUNDING or y + height > 1 + _ROUNDING:
        raise InvalidInput(f"crop {list(crop)} is not [x, y, width, height] as fractions of the image, inside [0, 1]")
    return crop


class MediaDecoder:
    """Decodes untrusted bytes in limited child processes; `settings` says how many and which limits.

    A process that crashes, takes too long or answers nonsense is replaced, and the file that did it is undecodable.
    Starting a replacement takes some tenths of a second, so one hostile file costs the others that much; a video, up
    to a second or two. Where many are uploaded, have more processes.
    """

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._jobs: queue.Queue[_Job | None] = queue.Queue(settings.queue_max)
        self._workers: list[_Worker] = []
        self._closed = False

    def start(self) -> None:
        """Start the processes, without waiting for them: the first decode does. Starting again changes nothing.

        Raises Unavailable when the decoder was closed.
        """
        if self._closed:
            raise Unavailable("the media decoder is closed")
        while len(self._workers) < self._settings.workers:
            worker = _Worker(self._settings, self._jobs)
            worker.start()
            self._workers.append(worker)

    @property
    def waiting(self) -> int:
        """Images that wait for a process (those being decoded not counted)."""
        return self._jobs.qsize()

    @property
    def replaced(self) -> int:
        """Processes replaced because of a crash, a timeout or a bad reply, since the start."""
        return sum(worker.replaced for worker in self._workers)

    def pids(self) -> list[int]:
        """Return the process ids of the decoding processes that are there now."""
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    async def decode(self, data: bytes, *, crop: Crop | None = None, frames: int | None = None) -> DecodedImage:
        """Decode an image or some frames of a video, or the part of it that `crop` names (fractions of what is shown).

        `frames` of a video, at the middles of as many equal parts of its time, come out (`video_frames` of the
        settings unless given; fewer if there are fewer); of an image one.

        Raises:
            UnsupportedMedia: the bytes are none of the accepted images and videos by their signature.
            UndecodableMedia: they do not decode, crash the decoder, or take too long or too much memory.
            TooLarge: more bytes, pixels, pixels of a side, frames or seconds than allowed.
            InvalidInput: the crop is not a part of an image.
            Overloaded: too many images are waiting.
            Unavailable: no decoding process can be started, or the decoder is not running.
        """
        box = check_crop(crop)
        mime = self._accept(data)
        container = CONTAINERS[mime]
        wanted = 1 if container is Container.IMAGE else (frames or self._settings.video_frames)
        reply, payload = await self._ask(Request(Operation.DECODE, len(data), box, container, wanted), data)
        hashes = np.frombuffer(payload, dtype="<u8", count=reply.shown)
        pixels = np.frombuffer(payload, dtype=np.uint8, offset=PHASH_BYTES * reply.shown)
        return DecodedImage(
            pixels.reshape(reply.shown, reply.pixels_height, reply.pixels_width, 3),
            reply.width,
            reply.height,
            mime,
            tuple(f"{value:016x}" for value in hashes.tolist()),
        )

    async def probe(self, data: bytes) -> MediaInfo:
        """Read an image's header, or a video's packets and its first frame. Raises as `decode` does.

        Cheap, and so no promise that all the pixels decode.
        """
        mime = self._accept(data)
        container = CONTAINERS[mime]
        reply, _ = await self._ask(Request(Operation.PROBE, len(data), container=container), data)
        if container is Container.IMAGE:
            return MediaInfo("image", mime, reply.width, reply.height, None, reply.frames)
        return MediaInfo("video", mime, reply.width, reply.height, reply.duration_ms / 1000, reply.frames)

    def close(self) -> None:
        """Kill the processes; what waits or is being decoded fails with Unavailable. Closing again changes nothing."""
        self._closed = True
        for worker in self._workers:
            worker.stop()
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None and job.answer.set_running_or_notify_cancel():
                    job.answer.set_exception(Unavailable("the media decoder was closed"))
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def _accept(self, data: bytes) -> str:
        limits = self._settings
        mime = sniff_mime(data)
        is_image = CONTAINERS[mime] is Container.IMAGE
        allowed = limits.max_bytes if is_image else limits.max_video_bytes
        if len(data) > allowed:
            raise TooLarge(f"the {'image' if is_image else 'video'} has {len(data)} bytes; {allowed} are allowed")
        return mime

    async def _ask(self, request: Request, data: bytes) -> tuple[Reply, bytearray]:
        if self._closed or not self._workers:
            raise Unavailable("the media decoder is not running")
        job = _Job(request, data)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded(f"{self._settings.queue_max} images are waiting to be decoded already") from None
        reply, payload = await asyncio.wrap_future(job.answer)
        _raise_for(request, reply, payload, self._settings)
        return reply, payload


@dataclass(frozen=True)
class _Job:
    """One file and where its answer goes; cancelling the answer takes a waiting job out."""

    request: Request
    data: bytes
    answer: Future[tuple[Reply, bytearray]] = field(default_factory=Future)


class _Worker(threading.Thread):
    """Owns one decoding process after the other. (The kernel kills a child when the thread that started it ends.)"""

    def __init__(self, settings: MediaSettings, jobs: queue.Queue[_Job | None]) -> None:
        super().__init__(name="media-decoder", daemon=True)
        self._settings = settings
        self._jobs = jobs
        self._stopping = threading.Event()
        self.process: DecodingProcess | None = None
        self.replaced = 0

    def run(self) -> None:
        try:
            with contextlib.suppress(Unavailable):  # the first job will say so
                self.process = DecodingProcess(self._settings)
            while (job := self._jobs.get()) is not None:
                if job.answer.set_running_or_notify_cancel():
                    self._work(job)
        finally:
            if self.process is not None:
                self.process.kill()

    def stop(self) -> None:
        """Make what is being decoded fail; the thread ends at the next None among the jobs. For another thread."""
        self._stopping.set()
        if self.process is not None:
            self.process.interrupt()

    def _work(self, job: _Job) -> None:
        try:
            job.answer.set_result(self._ask(job))
        except Exception as error:  # handed over to the caller, whatever it is; this thread goes on
            job.answer.set_exception(error)

    def _ask(self, job: _Job) -> tuple[Reply, bytearray]:
        try:
            return self._ask_once(job)
        except ProcessEnded as error:
            if self._stopping.is_set():
                raise Unavailable("the media decoder was closed") from None
            if error.by_signal not in _ENDED_FROM_OUTSIDE:
                raise _undecodable(job, error) from error
        try:  # killed by somebody else (the kernel short of memory, an operator): perhaps not this image's doing
            return self._ask_once(job)
        except ProcessEnded as error:
            raise _undecodable(job, error) from error

    def _ask_once(self, job: _Job) -> tuple[Reply, bytearray]:
        if self._stopping.is_set():
            raise Unavailable("the media decoder was closed")
        if self.process is None:
            self.process = DecodingProcess(self._settings)
        process = self.process
        try:
            answer = process.ask(job.request, job.data)
        except (ProcessTimedOut, BadReply) as error:
            self._replace()
            raise _undecodable(job, error) from error
        except (ProcessEnded, Unavailable):
            self._replace()
            raise
        if process.answered >= self._settings.recycle_after:
            self._recycle()
        return answer

    def _replace(self) -> None:
        self.replaced += 1
        self._recycle()

    def _recycle(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None
        if not self._stopping.is_set():
            with contextlib.suppress(Unavailable):  # the next job tries again, and says so
                self.process = DecodingProcess(self._settings)


def _kind(request: Request) -> str:
    return "image" if request.container is Container.IMAGE else "video"


def _undecodable(job: _Job, error: Exception) -> UndecodableMedia:
    return UndecodableMedia(f"the {_kind(job.request)} could not be decoded safely: {error}")


def _raise_for(request: Request, reply: Reply, payload: bytearray, settings: MediaSettings) -> None:
    if reply.status is Status.OK:
        return
    said = bytes(payload).decode(errors="replace")
    message = "".join(letter if letter.isprintable() else " " for letter in said)
    if reply.status is Status.TOO_LARGE:
        raise TooLarge(message)
    if reply.status is Status.OUT_OF_MEMORY:
        raise UndecodableMedia(f"the {_kind(request)} needs more than {settings.memory_mb} MB to be decoded")
    raise UndecodableMedia(f"the {_kind(request)} does not decode: {message}")

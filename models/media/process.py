"""The parent's end of one decoding process: start it, ask it, doubt its answer, kill it.

Blocking; `MediaDecoder` calls it from threads. A process belongs to one caller at a time.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from core.errors import Unavailable
from core.settings import MediaSettings
from models.media.messages import (
    MAX_MESSAGE_BYTES,
    PHASH_BYTES,
    REPLY_BYTES,
    Container,
    ImageLimits,
    Operation,
    Reply,
    Request,
    Status,
    VideoLimits,
)

_START_TIMEOUT_S = 30.0
_STDERR_TAIL_BYTES = 2_000
_CHUNK_BYTES = 1 << 20
_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Mapping[str, str] = {  # all of it: nothing is inherited
    "PYTHONPATH": str(_SOURCE_ROOT),
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class ProcessEnded(Exception):
    """The process died before it answered; `by_signal` is the signal that ended it, if one did."""

    def __init__(self, message: str, by_signal: int | None) -> None:
        super().__init__(message)
        self.by_signal = by_signal


class ProcessTimedOut(Exception):
    """The process did not answer in time."""


class BadReply(Exception):
    """The process answered with something that is not a reply: it is broken, or no longer ours."""


class _Deadline:
    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.ends = time.monotonic() + timeout_s


class DecodingProcess:
    """A child that decodes. After any exception of `ask` it is of no further use: `kill` it and start another."""

    def __init__(self, settings: MediaSettings) -> None:
        """Start the process, without waiting until it is ready."""
        self._settings = settings
        self._ready = False
        self.answered = 0
        images = ImageLimits(settings.max_pixels, settings.max_side, settings.max_frames, settings.decode_px)
        videos = VideoLimits(
            max_pixels=settings.max_video_pixels,
            max_side=settings.max_side,
            max_frames=settings.max_video_frames,
            max_duration_s=settings.max_video_s,
            frame_cost=settings.video_decode_mpx * 1_000_000 // settings.video_frames,
            decode_px=settings.decode_px,
        )
        options = {
            "images": asdict(images),
            "videos": asdict(videos),
            "memory_bytes": settings.memory_mb * 1024 * 1024,
            "timeout_s": settings.decode_timeout_s,
            "video_timeout_s": settings.video_timeout_s,
            "parent_pid": os.getpid(),
        }
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "models.media.child", json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                bufsize=0,
            )
        except OSError as error:
            raise Unavailable(f"no decoding process can be started: {error}") from error
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_ready(self) -> None:
        """Return when the process has confined itself. Raises Unavailable when it does not get there."""
        if self._ready:
            return
        try:
            reply, _ = self._receive_reply(Request(Operation.PROBE, 0), _Deadline(_START_TIMEOUT_S))
        except (ProcessEnded, ProcessTimedOut, BadReply) as error:
            raise Unavailable(f"the decoding process did not start: {error}") from error
        if reply.status is not Status.READY:
            raise Unavailable(f"the decoding process did not start: it said {reply.status.name}")
        self._ready = True

    def ask(self, request: Request, data: bytes) -> tuple[Reply, bytearray]:
        """Send one request and return the checked reply with its payload.

        Raises ProcessEnded, ProcessTimedOut, BadReply; Unavailable when the process never became ready.
        """
        self.wait_ready()
        is_image = request.container is Container.IMAGE
        deadline = _Deadline(self._settings.decode_timeout_s if is_image else self._settings.video_timeout_s)
        self._send(request.pack(), deadline)
        self._send(data, deadline)
        reply, payload = self._receive_reply(request, deadline)
        if reply.status is Status.READY:
            raise BadReply("the decoding process announced itself twice")
        self.answered += 1
        return reply, payload

    def interrupt(self) -> None:
        """Kill the process from another thread; whoever is in `ask` gets ProcessEnded and has to reap it."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    def kill(self) -> None:
        """End the process and reap it; harmless when it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _send(self, data: bytes, deadline: _Deadline) -> None:
        view = memoryview(data)
        pipe = self._child.stdin
        assert pipe is not None
        while view:
            self._wait(pipe.fileno(), selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(pipe.fileno(), view[:_CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self._ended() from None

    def _receive_reply(self, request: Request, deadline: _Deadline) -> tuple[Reply, bytearray]:
        header = bytes(self._receive(REPLY_BYTES, deadline))
        try:
            reply = Reply.unpack(header)
        except ValueError as error:
            raise BadReply(f"the decoding process answered nonsense: {error}") from error
        self._check(request, reply)
        return reply, self._receive(reply.size_bytes, deadline)

    def _check(self, request: Request, reply: Reply) -> None:
        """Believe no number: a process taken over by a file answers whatever it likes."""
        if reply.status is not Status.OK:
            if reply.size_bytes > 4 * MAX_MESSAGE_BYTES:
                raise BadReply(f"the decoding process announced a message of {reply.size_bytes} bytes")
            return
        limit, is_image = self._settings, request.container is Container.IMAGE
        if reply.size_bytes != reply.shown * (PHASH_BYTES + 3 * reply.pixels_width * reply.pixels_height):
            size = f"{reply.pixels_width} x {reply.pixels_height}"
            raise BadReply(f"{reply.size_bytes} bytes are not {reply.shown} frames of {size} RGB pixels")
        wanted = request.frames if request.operation is Operation.DECODE else 0
        if not min(1, wanted) <= reply.shown <= wanted:
            raise BadReply(f"{reply.shown} frames are not the {wanted} asked for")
        if reply.shown and not min(reply.pixels_width, reply.pixels_height):
            raise BadReply("there are no pixels")
        if max(reply.pixels_width, reply.pixels_height) > limit.decode_px:
            raise BadReply(f"{reply.pixels_width} x {reply.pixels_height} pixels are more than were asked for")
        width, height = reply.width, reply.height
        pixels = limit.max_pixels if is_image else limit.max_video_pixels
        if not (0 < width <= limit.max_side and 0 < height <= limit.max_side and width * height <= pixels):
            raise BadReply(f"a picture of {width} x {height} cannot have passed the limits")
        if not 1 <= reply.frames <= (limit.max_frames if is_image else limit.max_video_frames):
            raise BadReply(f"{reply.frames} frames cannot have been counted")
        if reply.duration_ms > (0 if is_image else 1000 * limit.max_video_s):
            raise BadReply(f"{reply.duration_ms} ms cannot have passed the limits")

    def _receive(self, size: int, deadline: _Deadline) -> bytearray:
        pipe = self._child.stdout
        assert pipe is not None
        buffer = bytearray()
        while len(buffer) < size:
            self._wait(pipe.fileno(), selectors.EVENT_READ, deadline)
            try:
                chunk = os.read(pipe.fileno(), min(size - len(buffer), _CHUNK_BYTES))
            except BlockingIOError:
                continue
            if not chunk:
                raise self._ended()
            buffer += chunk
        return buffer

    def _wait(self, descriptor: int, event: int, deadline: _Deadline) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline.ends - time.monotonic())):
                raise ProcessTimedOut(f"no answer within {deadline.timeout_s:g} s")

    def _ended(self) -> ProcessEnded:
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its pipes and lives on
            self._child.kill()
            self._child.wait()
            return ProcessEnded("the decoding process closed its pipes", None)
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            return ProcessEnded(f"the decoding process was ended by {name}", -code)
        return ProcessEnded(f"the decoding process exited with {code}{self._last_words()}", None)

    def _last_words(self) -> str:
        pipe = self._child.stderr
        assert pipe is not None
        try:
            text = os.read(pipe.fileno(), 1 << 16)[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""
        return f": {text.splitlines()[-1]}" if text else ""

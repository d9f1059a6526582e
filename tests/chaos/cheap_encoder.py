"""An image encoder for tests: a real process behind real HTTP, whose vectors are hashes of media ids.

What it says about media that is not stored, or is no image, is what the real one says, and it can be made slow as the
real one can. `python -m tests.chaos.cheap_encoder`, with the port and the object store of the settings.
"""

import asyncio
import hashlib
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import numpy as np

from core.errors import NotFound
from core.ports import EncodedImage, EncodeFailure
from core.settings import load_settings
from infra.chaos.slow_encoder import Slowness
from models.embedding_service import ENCODER_PREFIX, EncodeReply, EncodeRequest, to_wire
from storage.objects import open_object_store

DIM = 64
VERSION = "cheap/1"
_PNG = b"\x89PNG"


def vector_of(media_id: str) -> np.ndarray:
    """Return a unit vector that only depends on the media id."""
    vector = np.frombuffer(hashlib.sha512(media_id.encode()).digest(), np.uint8).astype(np.float32) + 1.0
    return vector / np.linalg.norm(vector)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"ready" if self.path == "/readyz" else b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.partition("?")[0] != ENCODER_PREFIX + "/encode":
            self._answer(404, b"{}")
            return
        request = msgspec.json.decode(body, type=EncodeRequest)
        results = self._slowly(request) or asyncio.run(self._encode(request.media_ids))
        self._answer(200, msgspec.json.encode(EncodeReply(results=[to_wire(result) for result in results])))

    def _slowly(self, request: EncodeRequest) -> list[EncodedImage | EncodeFailure]:
        """Wait as long as we are slow; return what the real one says where the deadline comes first."""
        delay_s = Slowness(load_settings().home).here_s()
        time.sleep(min(delay_s, request.timeout_s))
        late = EncodeFailure("timeout", "the image was not embedded before the deadline", transient=True)
        return [late] * len(request.media_ids) if delay_s > request.timeout_s else []

    async def _encode(self, media_ids: list[str]) -> list[EncodedImage | EncodeFailure]:
        store = open_object_store(load_settings().objects_url)
        results: list[EncodedImage | EncodeFailure] = []
        for media_id in media_ids:
            try:
                data = await store.get(media_id)
            except NotFound as error:
                results.append(EncodeFailure("missing-media", str(error), transient=False))
                continue
            if data.startswith(_PNG):
                results.append(EncodedImage(vector_of(media_id), "0" * 16, 96, 96, VERSION))
            else:
                results.append(EncodeFailure("undecodable-media", "not a PNG", transient=False))
        return results

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is for what goes wrong."""


def end_with_parent() -> None:
    """End when whoever started this process has ended: its end of our standard input closes then."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a child of the gateway's process
        threading.Thread(target=end_with_parent, daemon=True).start()
    settings = load_settings()
    ThreadingHTTPServer((settings.http.host, settings.http.port), Handler).serve_forever()

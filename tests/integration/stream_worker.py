"""A worker process whose embeddings are made up here: everything else is what production runs.

`python -m tests.integration.stream_worker --agents index-upload --metrics-port 9101 --name test`
"""

import argparse
import asyncio
import contextlib
import hashlib
from collections.abc import Sequence

import numpy as np

from core.clock import SystemClock
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure
from core.settings import load_settings
from monitoring.logs import configure_logs
from storage.catalogue import Catalogue
from storage.log.producer import KafkaPublisher
from streams.agent import EXIT_RESTART
from streams.dependencies import StreamDeps
from streams.outbox_relay import OutboxRelay
from streams.worker import Worker

UNDECODABLE = "f" * 64


class HashEmbeddings(EmbeddingService):
    """A vector for each media id, after a moment; `UNDECODABLE` has none."""

    async def encode_media(
        self, media_ids: Sequence[str], *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> list[EncodedImage | EncodeFailure]:
        await asyncio.sleep(0.02)
        return [self._encode(media_id) for media_id in media_ids]

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        return self._encode(hashlib.sha256(data).hexdigest())

    def _encode(self, media_id: str) -> EncodedImage | EncodeFailure:
        if media_id == UNDECODABLE:
            return EncodeFailure("undecodable-media", "not an image", transient=False)
        vector = np.frombuffer(hashlib.sha256(media_id.encode()).digest(), np.uint8).astype(np.float32) + 1.0
        return EncodedImage(vector / np.linalg.norm(vector), "0" * 16, 64, 64, "test/1")


class TestWorker(Worker):
    __test__ = False

    async def open(self, stack: contextlib.AsyncExitStack) -> StreamDeps:
        settings = self._settings
        publisher = KafkaPublisher(settings.broker.bootstrap, settings.producer, client_id="test-worker")
        stack.push_async_callback(asyncio.to_thread, publisher.close)
        catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
        stack.callback(catalogue.close)
        deps = StreamDeps(settings, publisher, self.recorder, SystemClock(), code_version="test")
        deps.catalogue, deps.embeddings = catalogue, HashEmbeddings()
        deps.background.append(OutboxRelay(catalogue, publisher, self.recorder, settings.streams).run)
        return deps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", required=True)
    parser.add_argument("--metrics-port", type=int, required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args()
    configure_logs(given.name)

    async def run() -> str:
        return await TestWorker(load_settings(), given.agents.split(","), given.metrics_port, given.name).run()

    if asyncio.run(run()):
        raise SystemExit(EXIT_RESTART)


if __name__ == "__main__":
    main()

"""The gateway under uvicorn on a free port, over real parts. Only the broker is replaced, by one in memory.

Catalogue, objects, confined decoding, the embedder, the handler of index-upload, the live index and its follower are
those of the running system, so what is uploaded over HTTP becomes searchable over HTTP.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn

from core import events, topics
from core.clock import SystemClock
from core.ports import EmbeddingService, ImageEncoder, OutgoingRecord, StoredRecord
from core.settings import (
    AuthSettings,
    CatalogueSettings,
    EncoderSettings,
    FeatureSettings,
    HttpSettings,
    IndexSettings,
    MediaSettings,
    ModerationSettings,
    RecommendationSettings,
    SearchSettings,
    ServingSettings,
    StreamSettings,
)
from features.reader import FeatureReader
from models.index import LiveIndex
from models.media.decoder import MediaDecoder
from models.moderation.policy import PolicyFile
from models.registry.store import ModelRegistry
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer
from serving.access import Door
from serving.embedder import ImageEmbedder
from serving.follower import IndexFollower
from serving.gateway.api import create_api
from serving.gateway.dependencies import GatewayDeps
from serving.moderation.desk import ModerationDesk
from serving.recommendation.opening import open_recommender
from serving.recommendation.topic_log import STREAMS
from serving.restrictions.follower import RestrictionsFollower
from serving.restrictions.served import Restrictions
from serving.served_index import ServedIndex
from serving.traces import TraceStore
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from storage.objects import open_object_store
from streams.agents.index_upload import UploadIndexer
from streams.envelope import Envelope
from tests.fakes.encoder import FakeImageEncoder
from tests.fakes.entry_log import MemoryEntryLog
from tests.fakes.moderator import FakeModerator
from tests.fakes.publisher import FakePublisher

_WITHIN_S = 30.0


def packaged_encoder(home: Path) -> ImageEncoder:
    """Return the encoder of a fresh installation. Takes seconds: it imports torch."""
    from models.registry.packaged import open_registry
    from models.visual_search.load import load_encoder

    return load_encoder(EncoderSettings(), open_registry(home))


def until(holds: Callable[[], bool], what: str, within_s: float = _WITHIN_S) -> None:
    """Wait for something to come about; fail, saying what did not, when it takes too long."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


class _Loopback(FakePublisher):
    """Keeps what is published, and does with it what broker and worker would: uploads are indexed, topics followed."""

    def __init__(self, log: MemoryEntryLog, streams: Mapping[str, MemoryEntryLog], verdicts: MemoryEntryLog) -> None:
        super().__init__()
        self._followed = {
            topics.INDEX_ENTRIES.name: log,
            topics.VERDICTS.name: verdicts,
            **{topics.BY_STREAM[stream].name: followed for stream, followed in streams.items()},
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self.worker: Envelope | None = None

    async def publish(self, records: Sequence[OutgoingRecord], *, timeout_s: float = 10.0) -> None:
        await super().publish(records, timeout_s=timeout_s)
        assert not any(record.topic.endswith(topics.DLQ_SUFFIX) for record in records), records
        uploads = [self._stored(record) for record in records if record.topic == topics.UPLOADS.name]
        for record in records:
            if followed := self._followed.get(record.topic):
                followed.append(record.key, record.value, record.headers, int(time.time() * 1000))
        if uploads:
            task = asyncio.create_task(self._index(uploads))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _index(self, uploads: list[StoredRecord]) -> None:
        assert self.worker is not None
        await self.worker.process(uploads)

    def _stored(self, record: OutgoingRecord) -> StoredRecord:
        return StoredRecord(record.topic, 0, len(self.records), record.key, record.value, record.headers, 0)


class LiveGateway:
    """A running gateway: `url`, an HTTP client for it, its collaborators, and what was published to topics."""

    def __init__(self, url: str, deps: GatewayDeps, published: FakePublisher) -> None:
        self.url = url
        self.deps = deps
        self.http = httpx.Client(base_url=url, timeout=_WITHIN_S)
        self._published = published
        self._sent = 0

    def send(self, change: str, item_id: str, **data: Any) -> None:
        """Send one upload event (`created`, `hidden`, ...) to the collector."""
        self._sent += 1
        event = {
            "specversion": "1.0",
            "id": f"evt-{self._sent}",
            "source": "test",
            "type": f"riverlight.upload.{change}",
            "time": datetime.now(UTC).isoformat(),
            "subject": item_id,
            "data": {"item_id": item_id, **data},
        }
        answer = self.http.post("/v1/events/uploads", json=event)
        assert answer.status_code == 202, answer.text

    def upload(self, item_id: str, image: bytes, **fields: Any) -> str:
        """Upload an image as an item, wait until it is in the index, and return its media id."""
        answer = self.http.post("/v1/media", files={"file": image})
        assert answer.status_code == 201, answer.text
        media_id = str(answer.json()["media_id"])
        self.send("created", item_id, owner_id="owner", kind="image", media_id=media_id, **fields)
        until(lambda: self._state(item_id) == "active", f"{item_id} in the index")
        return media_id

    def hide(self, item_id: str) -> None:
        """Hide an item and wait until the index knows."""
        self.send("hidden", item_id)
        until(lambda: self._state(item_id) != "active", f"{item_id} out of the index")

    def _state(self, item_id: str) -> str | None:
        entry = self.deps.index.current.get(item_id)
        return None if entry is None else entry.state

    def published(self, topic: str) -> list[dict[str, Any]]:
        """Return the events published to a topic so far, frames taken apart."""
        records = [record for record in self._published.of(topic) if record.value is not None]
        return [decoded for record in records for decoded in _events(record)]


def _events(record: OutgoingRecord) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw) for raw in events.split_record(record.value or b"")]


@contextmanager
def live_gateway(
    home: Path,
    encoder: ImageEncoder | None = None,
    *,
    min_score: float = 0.35,
    http: HttpSettings | None = None,
    door: Door | None = None,
    embedding: EmbeddingService | None = None,
    tracer_of: Callable[[str], Tracer] = lambda process: NO_TRACING,
    registry: ModelRegistry | None = None,
    moderation: ModerationSettings | None = None,
    serving: ServingSettings | None = None,
) -> Iterator[LiveGateway]:
    """Run the gateway in a thread. Without an encoder, images are similar when their colours are.

    `embedding` is asked instead of an encoder in this process. `tracer_of` gives the tracer of each process that there
    would be in a running system. `registry` has the model that recommends.
    """
    encoder = encoder or FakeImageEncoder()
    clock, recorder, log, settings = SystemClock(), Recorder(), MemoryEntryLog(), IndexSettings(kind="flat")
    catalogue = Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings())
    objects = open_object_store((home / "objects").as_uri())
    decoder = MediaDecoder(MediaSettings())
    decoder.start()
    embedder = ImageEmbedder(
        encoder=encoder, store=objects, decoder=decoder, recorder=recorder, batch_size=8, wait_s=0.0, max_images=64
    )
    served = ServedIndex(LiveIndex(encoder.dim, encoder.version, settings))
    follower = IndexFollower(
        served=served,
        log=log,
        folder=home / "index",
        settings=settings,
        recorder=recorder,
        clock=clock,
        tracer=tracer_of("gateway"),
    )
    follower.start()
    restrictions, verdicts = Restrictions(), MemoryEntryLog()
    restrictions_follower = RestrictionsFollower(served=restrictions, log=verdicts, recorder=recorder, clock=clock)
    restrictions_follower.start()
    traces = TraceStore(catalogue)
    traces.start()
    streams = {stream: MemoryEntryLog() for stream in STREAMS}
    recommendation = open_recommender(
        RecommendationSettings(),
        streams,
        folder=home / "recommendation",
        traces=traces,
        recorder=recorder,
        clock=clock,
        at_once=8,
        registry=registry,
        restrictions=restrictions,
    )
    recommendation.start()
    publisher = _Loopback(log, streams, verdicts)
    publisher.worker = Envelope(
        "index-upload",
        "uploads",
        UploadIndexer(catalogue, embedding or embedder, publisher, 20.0),
        publisher=publisher,
        settings=StreamSettings(),
        recorder=recorder,
        clock=clock,
        inbox=catalogue,
        tracer=tracer_of("worker-content"),
    )
    moderation = moderation or ModerationSettings()
    store = ModerationStore(catalogue.database, clock)
    deps = GatewayDeps(
        http=http or HttpSettings(),
        auth=AuthSettings(),
        streams=StreamSettings(),
        search_settings=SearchSettings(min_score=min_score),
        serving=serving or ServingSettings(),
        publisher=publisher,
        catalogue=catalogue,
        objects=objects,
        decoder=decoder,
        embedding=embedding or embedder,
        tracer=tracer_of("gateway"),
        index=served,
        follower=follower,
        restrictions=restrictions,
        restrictions_follower=restrictions_follower,
        features=FeatureReader.open(home, FeatureSettings(), clock),
        traces=traces,
        recorder=recorder,
        clock=clock,
        door=door or Door(None),
        rates=None,
        recommendation=recommendation,
        moderation=ModerationDesk(store, FakeModerator(), PolicyFile(moderation.policy), moderation, clock),
    )
    config = uvicorn.Config(create_api(deps), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)

    def run() -> None:
        server.run()
        embedder.close()
        asyncio.run(deps.close())  # here, because the caller's thread may have a loop of its own

    thread = threading.Thread(target=run, name="gateway", daemon=True)
    thread.start()
    gateway = None
    try:
        until(lambda: server.started and deps.ready()[0], "the gateway started")
        port = server.servers[0].sockets[0].getsockname()[1]
        gateway = LiveGateway(f"http://127.0.0.1:{port}", deps, publisher)
        yield gateway
    finally:
        if gateway is not None:
            gateway.http.close()
        server.should_exit = True
        thread.join(timeout=_WITHIN_S)

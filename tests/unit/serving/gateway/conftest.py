"""The gateway over real parts: SQLite, a folder of objects, confined decoding, a live index that follows a log."""

import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from core import events
from core.clock import SystemClock
from core.entries import IndexEntry, Version, pack_vector
from core.ids import media_id
from core.moderation import Verdict
from core.ports import Crop, EncodedImage, EncodeFailure
from core.settings import (
    AuthSettings,
    CatalogueSettings,
    FeatureSettings,
    HttpSettings,
    IndexSettings,
    MediaSettings,
    ModerationSettings,
    RateSettings,
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
from serving.access import Door
from serving.follower import IndexFollower
from serving.gateway.api import create_api
from serving.gateway.dependencies import GatewayDeps
from serving.gateway.rates import RateLimiter
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
from tests.fakes.entry_log import MemoryEntryLog
from tests.fakes.moderator import FakeModerator
from tests.fakes.publisher import FakePublisher
from tests.unit.serving.restrictions.verdicts import put

DIM, MODEL = 16, "visual-search/test"


def vector_of(seed: bytes) -> np.ndarray:
    """Return a direction that depends on the bytes alone; different bytes are nearly orthogonal."""
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest()[:8], "big"))
    vector = random.normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class HashEmbedding:
    """Embeds bytes by their hash, so a picture is similar to itself only. `failure` is answered or raised instead."""

    objects: Any
    failure: Exception | EncodeFailure | None = None
    calls: int = 0
    model_version: str = MODEL

    async def encode_media(
        self, media_ids: Sequence[str], *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> list[EncodedImage | EncodeFailure]:
        found: list[EncodedImage | EncodeFailure] = []
        for one in media_ids:
            if not await self.objects.exists(one):
                found.append(EncodeFailure("missing-media", "there is no such media", transient=False))
            else:
                found.append(await self.encode_bytes(await self.objects.get(one), crop=crop))
        return found

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        self.calls += 1
        if isinstance(self.failure, EncodeFailure):
            return self.failure
        if self.failure is not None:
            raise self.failure
        seed = data if crop is None else data + repr(crop).encode()
        return EncodedImage(vector_of(seed), "0" * 16, 8, 8, self.model_version)


def picture(seed: int = 0, size: tuple[int, int] = (24, 18), kind: str = "PNG") -> bytes:
    """Return the bytes of a small image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def upload_event(item_id: str, media: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"evt-{item_id}",
        "source": "test",
        "type": "riverlight.upload.created",
        "time": datetime.now(UTC).isoformat(),
        "subject": item_id,
        "data": {"item_id": item_id, "owner_id": "owner", "kind": "image", "media_id": media, **data},
    }


class World:
    """A gateway and what stands behind it, with ways to make things happen there."""

    def __init__(
        self,
        deps: GatewayDeps,
        log: MemoryEntryLog,
        client: httpx.AsyncClient,
        streams: dict[str, MemoryEntryLog],
        verdicts: MemoryEntryLog,
    ) -> None:
        self.deps = deps
        self.log = log
        self.verdicts = verdicts
        self.streams = streams
        self.client = client
        self.publisher: FakePublisher = deps.publisher  # type: ignore[assignment]
        self.embedding: HashEmbedding = deps.embedding  # type: ignore[assignment]
        self._version = 0

    async def store(self, data: bytes) -> str:
        """Put an image into the object store."""
        return await self.deps.objects.put(data)

    def index(self, item_id: str, data: bytes, *, vector: np.ndarray | None = None, **fields: Any) -> IndexEntry:
        """Make an item searchable, as the agent would: an entry in the log."""
        self._version += 1
        entry = IndexEntry(
            item_id=item_id,
            version=fields.pop("version", Version(self._version, 0)),
            media_id=fields.pop("media_id", media_id(data)),
            owner_id=fields.pop("owner_id", "owner"),
            vector=pack_vector((vector_of(data) if vector is None else vector).astype(np.float32)),
            model_version=MODEL,
            event_id="evt",
            **fields,
        )
        self.log.put(entry)
        self.until(lambda: self._applied(entry))
        return entry

    def _applied(self, entry: IndexEntry) -> bool:
        current = self.deps.index.current.get(entry.item_id)
        return current is not None and current.version == entry.version

    def tell(self, stream: str, *told: events.AnyEvent) -> None:
        """Put events into a topic, and wait until the recommender has read them."""
        assert self.deps.recommendation is not None
        counts = self.deps.recommendation.follower.counts
        before = sum(counts.values())
        for event in told:
            self.streams[stream].append(events.event_key(event), events.encode(event))
        self.until(lambda: sum(counts.values()) == before + len(told))

    def judge(self, *judged: Verdict) -> None:
        """Put verdicts into their topic, and wait until the gateway has applied them."""
        counts = self.deps.restrictions_follower.counts
        before = sum(counts.values())
        for verdict in judged:
            put(self.verdicts, verdict)
        self.until(lambda: sum(counts.values()) == before + len(judged))

    @staticmethod
    def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.002)

    async def search(self, **body: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/search/images", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass(frozen=True)
class Shape:
    """Settings of a gateway that tests change."""

    http: HttpSettings = field(
        default_factory=lambda: HttpSettings(
            max_body_bytes=64 * 1024, max_upload_bytes=512 * 1024, max_events_per_call=50
        )
    )
    serving: ServingSettings = field(default_factory=ServingSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    door: Door = field(default_factory=lambda: Door(None))
    rates: RateSettings | None = None
    recommendation: RecommendationSettings | None = field(default_factory=RecommendationSettings)
    registry: ModelRegistry | None = None
    moderation: ModerationSettings | None = field(default_factory=ModerationSettings)


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Callable[..., World]]:
    opened: list[World] = []

    def make(shape: Shape = Shape()) -> World:
        clock, recorder, log = SystemClock(), Recorder(), MemoryEntryLog()
        settings = IndexSettings(kind="flat")
        catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
        objects = open_object_store((tmp_path / "objects").as_uri())
        decoder = MediaDecoder(MediaSettings())
        decoder.start()
        served = ServedIndex(LiveIndex(DIM, MODEL, settings))
        follower = IndexFollower(
            served=served, log=log, folder=tmp_path / "index", settings=settings, recorder=recorder, clock=clock
        )
        follower.start()
        restrictions, verdicts = Restrictions(), MemoryEntryLog()
        restrictions_follower = RestrictionsFollower(served=restrictions, log=verdicts, recorder=recorder, clock=clock)
        restrictions_follower.start()
        traces = TraceStore(catalogue)
        traces.start()
        streams = {stream: MemoryEntryLog() for stream in STREAMS}
        recommendation = None
        if shape.recommendation is not None:
            recommendation = open_recommender(
                shape.recommendation,
                streams,
                folder=tmp_path / "recommendation",
                traces=traces,
                recorder=recorder,
                clock=clock,
                at_once=4,
                registry=shape.registry,
                restrictions=restrictions,
            )
            recommendation.start()
        moderation = None
        if shape.moderation is not None:
            store, policy = ModerationStore(catalogue.database, clock), PolicyFile(shape.moderation.policy)
            moderation = ModerationDesk(store, FakeModerator(), policy, shape.moderation, clock)
        deps = GatewayDeps(
            http=shape.http,
            auth=shape.auth,
            streams=StreamSettings(),
            search_settings=shape.search,
            serving=shape.serving,
            publisher=FakePublisher(),
            catalogue=catalogue,
            objects=objects,
            decoder=decoder,
            embedding=HashEmbedding(objects),
            index=served,
            follower=follower,
            restrictions=restrictions,
            restrictions_follower=restrictions_follower,
            features=FeatureReader.open(tmp_path, FeatureSettings(), clock),
            traces=traces,
            recorder=recorder,
            clock=clock,
            door=shape.door,
            rates=RateLimiter(shape.rates, recorder) if shape.rates else None,
            recommendation=recommendation,
            moderation=moderation,
        )
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app=create_api(deps)), base_url="http://gateway")
        world = World(deps, log, client, streams, verdicts)
        opened.append(world)
        World.until(lambda: deps.ready()[0])
        World.until(lambda: recommendation is None or recommendation.follower.ready()[0])
        return world

    yield make
    for world in opened:
        await world.client.aclose()
        await world.deps.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()

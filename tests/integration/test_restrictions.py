"""On real brokers: what a verdict takes down is in no search and on no homepage from then on, and comes back."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest

from core import events, topics
from core.entries import IndexEntry, Version, encode_entry, pack_vector
from core.moderation import Verdict, encode_moderation
from core.ports import OutgoingRecord
from core.settings import BrokerSettings, ProducerSettings, Settings
from serving.gateway.api import create_api
from serving.gateway.dependencies import GatewayDeps, open_gateway
from storage.log.producer import KafkaPublisher
from tests.integration.stream_harness import make_topics
from tests.unit.serving.gateway.conftest import DIM, HashEmbedding

pytestmark = pytest.mark.integration

OWNER = "the-author"
_WITHIN_S = 60.0


@pytest.fixture(params=["kafka", "embedded"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Apache Kafka and the embedded broker, each where it can run."""
    found = str(request.getfixturevalue(f"{request.param}_bootstrap"))
    make_topics(found)
    return found


class Platform:
    """A gateway on a real broker, a video and an image beside others, and verdicts about them."""

    def __init__(self, deps: GatewayDeps, client: httpx.AsyncClient, publisher: KafkaPublisher, name: str) -> None:
        self.deps = deps
        self.client = client
        self.publisher = publisher
        self.name = name
        self.query = f"{name}-query"

    async def found(self) -> set[str]:
        """Return what a search finds."""
        answer = await self.client.post("/v1/search/images", json={"item_id": self.query, "k": 100})
        assert answer.status_code == 200, answer.text
        return {one["item_id"] for one in answer.json()["results"]}

    async def recommended(self) -> set[str]:
        """Return what is on a new viewer's homepage. (Other tests' videos may be there, too.)"""
        answer = await self.client.get(f"/v1/recommendations/{uuid4().hex}", params={"k": 200})
        assert answer.status_code == 200, answer.text
        return {one["item_id"] for one in answer.json()["results"]}

    async def enforced(self, video: str) -> bool:
        """Tell whether a video is kept off a homepage by a verdict. Whether it is on one also depends on the others
        that there are, those of other tests included."""
        answer = await self.client.get(f"/v1/recommendations/{uuid4().hex}/why-not/{video}", params={"k": 200})
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["reason"] == "enforced")

    async def judge(self, number: int, state: str, version: int) -> float:
        """Publish a verdict about the author's post that shows an image and a video; return when it was sent."""
        now = datetime.now(UTC)
        verdict = Verdict(
            post_id=f"{self.name}-post-{number}",
            author_id=OWNER,
            state=state,  # type: ignore[arg-type]
            version=Version.of(now, version),
            item_ids=[f"{self.name}-image-{number}", f"{self.name}-video-{number}"],
            harm="violence",
            decision_id=f"decision-{number}",
            decided_at=now,
        )
        sent = time.monotonic()
        record = OutgoingRecord(topics.VERDICTS.name, verdict.post_id, encode_moderation(verdict))
        await self.publisher.publish([record])
        return sent


@asynccontextmanager
async def gateway(home: Path, bootstrap: str, name: str) -> AsyncIterator[Platform]:
    """Open the gateway as a replica does; give it when it is ready."""
    settings = Settings(home=home, broker=BrokerSettings(bootstrap=bootstrap))
    plain = settings.recommendation.model_copy(update={"model": "", "generator_deadline_s": 5.0, "per_creator": 1_000})
    settings = settings.model_copy(update={"recommendation": plain})
    deps = open_gateway(settings, HashEmbedding(None), dim=DIM, model_version=f"test/{name}")
    publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="test")
    try:
        transport = httpx.ASGITransport(app=create_api(deps))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client:
            assert deps.recommendation is not None
            follower = deps.recommendation.follower

            async def ready() -> bool:
                return deps.ready()[0] and follower.ready()[0]

            await until(ready, "the gateway is ready")
            yield Platform(deps, client, publisher, name)
    finally:
        await asyncio.to_thread(publisher.close)
        await deps.close()


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not await holds():
        assert time.monotonic() < deadline, f"not within {_WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.005)


def near_directions(n: int) -> np.ndarray:
    """Return `(n, DIM)` directions that are near each other."""
    found = np.ones((n, DIM)) + np.random.default_rng(0).normal(0, 0.3, (n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


async def stock(platform: Platform, n: int) -> None:
    """Upload `n` images and videos of the author, and one image to search by; wait until they are found."""
    now, name = datetime.now(UTC), platform.name
    directions = near_directions(n + 1)
    records = []
    for number in range(n + 1):
        image = platform.query if number == n else f"{name}-image-{number}"
        entry = IndexEntry(
            item_id=image,
            version=Version.of(now, number),
            media_id=uuid4().hex * 2,
            owner_id=OWNER,
            vector=pack_vector(directions[number]),
            model_version=f"test/{name}",
            event_id="evt",
        )
        records.append(OutgoingRecord(topics.INDEX_ENTRIES.name, image, encode_entry(entry)))
        video = f"{name}-video-{number}"
        data = events.Upload(item_id=video, owner_id=OWNER, kind="video", media_id=uuid4().hex * 2, title=video)
        event = events.UploadCreated(id=f"evt-{video}", source="test", time=now, subject=video, data=data)
        records.append(OutgoingRecord(topics.UPLOADS.name, video, events.encode(event)))
    await platform.publisher.publish(records)

    async def all_there() -> bool:
        assert platform.deps.recommendation is not None
        if platform.deps.index.current.get(platform.query) is None:
            return False
        videos = platform.deps.recommendation.recommender.videos
        known = all(videos.row_of(f"{name}-video-{number}") is not None for number in range(n))
        return known and len(await platform.found()) == n

    await until(all_there, "everything is found")


async def test_what_is_enforced_is_gone_from_every_answer_and_comes_back_when_it_is_cleared(
    bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, n, judged = f"run-{uuid4().hex[:8]}", 30, range(20)
    gone_s: list[float] = []
    async with gateway(tmp_path, bootstrap, name) as platform:
        await stock(platform, n)
        for number in judged:
            image, video = f"{name}-image-{number}", f"{name}-video-{number}"
            assert image in await platform.found() and not await platform.enforced(video)
            sent = await platform.judge(number, "enforced", 1)

            async def gone(image: str = image, video: str = video) -> bool:
                return image not in await platform.found() and await platform.enforced(video)

            await until(gone, f"{image} and {video} are gone")
            gone_s.append(time.monotonic() - sent)
        down = {f"{name}-{kind}-{number}" for kind in ("image", "video") for number in judged}
        for _ in range(20):  # from then on in none
            assert not down & (await platform.found() | await platform.recommended())
        assert platform.deps.restrictions_follower.describe()["entries"]["invalid"] == 0
    with capsys.disabled():
        print(
            f"\n{bootstrap}: from sending a verdict to an answer of both without the item: "
            f"median {statistics.median(gone_s) * 1000:.0f} ms, longest of {len(gone_s)} {max(gone_s) * 1000:.0f} ms"
        )
    async with gateway(tmp_path, bootstrap, name) as platform:  # a restart forgets nothing
        assert not down & (await platform.found() | await platform.recommended())
        await platform.judge(0, "clear", 2)

        async def back() -> bool:
            return f"{name}-image-0" in await platform.found() and not await platform.enforced(f"{name}-video-0")

        await until(back, "the image and the video are back")
        down -= {f"{name}-image-0", f"{name}-video-0"}
        assert not down & (await platform.found() | await platform.recommended())

"""What every `EmbeddingService` does, whatever is between it and the encoder."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from core.errors import InvalidInput
from core.ids import media_id
from core.ports import EmbeddingService, EncodedImage, EncodeFailure, ObjectStore
from core.settings import MediaSettings, Settings
from models.embedding_service import ENCODER_PREFIX, HttpEmbeddingService
from serving.encoder import EncoderParts, ImageEncoderService
from storage.objects import open_object_store
from tests.fakes.asgi import served
from tests.fakes.embedding_service import FakeEmbeddingService
from tests.fakes.encoder import FakeImageEncoder
from tests.unit.models.media.pictures import encoded, quadrants, smooth
from tests.unit.models.media.videos import video

RED = (0.0, 0.0, 0.5, 0.5)
BLUE = (0.0, 0.5, 0.5, 0.5)


@dataclass
class Offered:
    service: EmbeddingService
    store: ObjectStore


@contextlib.asynccontextmanager
async def fake(settings: Settings) -> AsyncIterator[Offered]:
    store = open_object_store(settings.objects_url)
    yield Offered(FakeEmbeddingService(store), store)


def fake_parts(settings: Settings) -> EncoderParts:
    return EncoderParts(FakeImageEncoder(), open_object_store(settings.objects_url))


@contextlib.asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[Offered]:
    encoder = ImageEncoderService(settings, fake_parts)
    try:
        yield Offered(encoder, open_object_store(settings.objects_url))
    finally:
        encoder.close()


@contextlib.asynccontextmanager
async def http(settings: Settings) -> AsyncIterator[Offered]:
    encoder = ImageEncoderService(settings, fake_parts)
    async with served(asgi(encoder)) as url:
        service = HttpEmbeddingService(url)
        try:
            yield Offered(service, open_object_store(settings.objects_url))
        finally:
            await service.aclose()
            encoder.close()


def asgi(encoder: ImageEncoderService) -> Callable:
    async def app(scope, receive, send):
        response = await encoder(Request(scope, receive))
        await response(scope, receive, send)

    return Starlette(routes=[Mount(ENCODER_PREFIX, app=app)])


class Front:
    """A deployment of another application that asks the encoder through its handle, as the gateway does."""

    def __init__(self) -> None:
        from ray import serve

        from serving.handles import HandleEmbeddingService

        self._embedding = HandleEmbeddingService(serve.get_app_handle("image-encoder"))

    async def __call__(self, request) -> dict:
        result = await self._embedding.encode_bytes(await request.body())
        version, dim = await self._embedding.describe()
        return {"phash": result.phash, "length": len(result.vector), "version": version, "dim": dim}


@dataclass
class Cluster:
    handle: Any
    url: str
    settings: Settings


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A Ray of our own with the encoder and the front, started once for the module."""
    import ray
    from ray import serve

    settings = settings_at(tmp_path_factory.mktemp("cluster"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=150 * 1024 * 1024,
        log_to_driver=False,
        configure_logging=False,
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        options = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 16, "max_queued_requests": 64}
        encoder = serve.deployment(ImageEncoderService, name="image-encoder", **options)
        handle = serve.run(encoder.bind(settings, fake_parts), name="image-encoder", route_prefix=ENCODER_PREFIX)
        front = serve.deployment(Front, name="front", **options)
        serve.run(front.bind(), name="front", route_prefix="/front")
        yield Cluster(handle, f"http://127.0.0.1:{port}", settings)
    finally:
        serve.shutdown()
        ray.shutdown()


@contextlib.asynccontextmanager
async def over_handle(settings: Settings, cluster: Cluster) -> AsyncIterator[Offered]:
    from serving.handles import HandleEmbeddingService

    store = open_object_store(cluster.settings.objects_url)
    yield Offered(HandleEmbeddingService(cluster.handle), store)


@contextlib.asynccontextmanager
async def over_serve_http(settings: Settings, cluster: Cluster) -> AsyncIterator[Offered]:
    service = HttpEmbeddingService(cluster.url)
    try:
        yield Offered(service, open_object_store(cluster.settings.objects_url))
    finally:
        await service.aclose()


def settings_at(home) -> Settings:
    return Settings(home=home, media=MediaSettings(max_bytes=300_000))


@pytest.fixture(
    params=[
        fake,
        in_process,
        http,
        pytest.param(over_handle, marks=[pytest.mark.integration, pytest.mark.serve]),
        pytest.param(over_serve_http, marks=[pytest.mark.integration, pytest.mark.serve]),
    ]
)
async def offered(request, tmp_path) -> AsyncIterator[Offered]:
    needs = [request.getfixturevalue("cluster")] if "over_" in request.param.__name__ else []
    async with request.param(settings_at(tmp_path), *needs) as offered:
        yield offered


def picture() -> bytes:
    return encoded(quadrants())


async def test_stored_images_are_embedded_in_the_order_asked(offered):
    first, second = encoded(quadrants()), encoded(smooth(300, 200), "JPEG")
    ids = [await offered.store.put(first), await offered.store.put(second)]
    forward = await offered.service.encode_media(ids)
    backward = await offered.service.encode_media(ids[::-1])
    assert all(isinstance(result, EncodedImage) for result in forward)
    assert [result.phash for result in forward] == [result.phash for result in backward][::-1]
    assert forward[0].phash != forward[1].phash


async def test_a_vector_has_length_one_and_comes_with_what_is_known_of_the_image(offered):
    result = await offered.service.encode_bytes(picture())
    assert isinstance(result, EncodedImage)
    assert result.vector.dtype == np.float32
    assert result.vector.ndim == 1
    assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)
    assert (result.width, result.height) == (400, 200)
    assert len(result.phash) == 16
    assert result.model_version == "visual-search/fake"


async def test_the_same_image_gets_the_same_vector_by_reference_and_by_value(offered):
    stored = await offered.store.put(picture())
    [by_reference] = await offered.service.encode_media([stored])
    by_value = await offered.service.encode_bytes(picture())
    np.testing.assert_allclose(by_reference.vector, by_value.vector, atol=1e-6)


async def test_a_crop_is_embedded_instead_of_the_whole(offered):
    stored = await offered.store.put(picture())
    [red] = await offered.service.encode_media([stored], crop=RED)
    blue = await offered.service.encode_bytes(picture(), crop=BLUE)
    whole = await offered.service.encode_bytes(picture())
    assert not np.allclose(red.vector, blue.vector, atol=1e-3)
    assert not np.allclose(red.vector, whole.vector, atol=1e-3)
    assert (red.width, red.height) == (400, 200)


async def test_a_crop_that_is_no_part_of_an_image_is_refused(offered):
    stored = await offered.store.put(picture())
    with pytest.raises(InvalidInput, match="crop"):
        await offered.service.encode_media([stored], crop=(0.5, 0.5, 0.9, 0.1))
    with pytest.raises(InvalidInput, match="crop"):
        await offered.service.encode_bytes(picture(), crop=(0.0, 0.0, float("nan"), 1.0))


async def test_an_image_is_its_own_only_frame(offered):
    stored = await offered.store.put(picture())
    [by_reference] = await offered.service.encode_media([stored])
    by_value = await offered.service.encode_bytes(picture())
    assert by_reference.frame_phashes == (by_reference.phash,)
    assert by_value.frame_phashes == (by_value.phash,)


async def test_a_video_is_embedded_by_its_frames(offered):
    if isinstance(offered.service, FakeEmbeddingService):
        pytest.skip("the fake decodes nothing")
    moving = video(frames=16, size=(96, 64), gop=4, picture=lambda index: smooth(96, 64, seed=index // 8))
    stored = await offered.store.put(moving)
    [by_reference] = await offered.service.encode_media([stored], signals=True, timeout_s=30)
    by_value = await offered.service.encode_bytes(moving, timeout_s=30)
    assert np.linalg.norm(by_reference.vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(by_reference.vector, by_value.vector, atol=1e-6)
    assert (by_reference.width, by_reference.height) == (96, 64)
    assert len(by_reference.frame_phashes) == 8
    assert by_reference.frame_phashes == by_value.frame_phashes
    assert by_reference.phash == by_reference.frame_phashes[4]
    assert len(set(by_reference.frame_phashes)) >= 2
    assert 0 <= by_reference.nsfw < 0.2
    assert by_value.nsfw is None


async def test_signals_are_for_who_asks_for_them(offered):
    stored = await offered.store.put(picture())
    [plain] = await offered.service.encode_media([stored])
    [asked, again] = await offered.service.encode_media([stored, stored], signals=True, timeout_s=30)
    assert plain.nsfw is None
    assert 0 <= asked.nsfw < 0.2
    assert asked.nsfw == again.nsfw
    np.testing.assert_allclose(plain.vector, asked.vector, atol=1e-6)


async def test_what_fails_fails_with_signals_too(offered):
    broken = await offered.store.put(b"broken: not an image at all")
    [result] = await offered.service.encode_media([broken], signals=True)
    assert (result.code, result.transient) == ("unsupported-media", False)


async def test_one_bad_image_fails_alone_and_for_ever(offered):
    good = await offered.store.put(picture())
    broken = await offered.store.put(b"broken: not an image at all")
    missing = media_id(b"never stored")
    results = await offered.service.encode_media([good, broken, missing, "../etc/passwd", good])
    assert [type(result) for result in results] == [
        EncodedImage,
        EncodeFailure,
        EncodeFailure,
        EncodeFailure,
        EncodedImage,
    ]
    assert [result.code for result in results[1:4]] == ["unsupported-media", "missing-media", "invalid-input"]
    assert not any(result.transient for result in results[1:4])


async def test_bytes_that_are_not_an_image_are_a_permanent_failure(offered):
    result = await offered.service.encode_bytes(b"broken: not an image at all")
    assert isinstance(result, EncodeFailure)
    assert (result.code, result.transient) == ("unsupported-media", False)


async def test_no_ids_get_no_results(offered):
    assert await offered.service.encode_media([]) == []


async def test_a_long_list_is_answered_whole(offered):
    stored = await offered.store.put(picture())
    results = await offered.service.encode_media([stored] * 70, timeout_s=30)
    assert len(results) == 70
    assert all(isinstance(result, EncodedImage) for result in results)


@pytest.mark.integration
@pytest.mark.serve
async def test_another_application_of_the_cluster_reaches_the_encoder_through_its_handle(cluster):
    async with httpx.AsyncClient() as client:
        answer = await client.post(cluster.url + "/front", content=picture(), timeout=30)
        health = await client.get(cluster.url + ENCODER_PREFIX + "/healthz", timeout=30)
        metrics = await client.get(cluster.url + ENCODER_PREFIX + "/metrics", timeout=30)
    assert answer.json()["version"] == health.json()["model_version"] == "visual-search/fake"
    assert answer.json()["length"] == answer.json()["dim"] == health.json()["dim"] == FakeImageEncoder.dim
    assert 'riverlight_encoder_images_total{outcome="ok"}' in metrics.text

"""What every `EmbeddingService` does, whatever is between it and the encoder."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
import pytest

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
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Mount

    async def app(scope, receive, send):
        response = await encoder(Request(scope, receive))
        await response(scope, receive, send)

    return Starlette(routes=[Mount(ENCODER_PREFIX, app=app)])


@contextlib.asynccontextmanager
async def handle(settings: Settings) -> AsyncIterator[Offered]:
    import ray
    from ray import serve

    from serving.handles import HandleEmbeddingService

    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=150 * 1024 * 1024, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 0})
        deployment = serve.deployment(ImageEncoderService, name="image-encoder", ray_actor_options={"num_cpus": 0.5})
        app = deployment.bind(settings, fake_parts)
        deployed = await asyncio.to_thread(serve.run, app, name="image-encoder", route_prefix=ENCODER_PREFIX)
        yield Offered(HandleEmbeddingService(deployed), open_object_store(settings.objects_url))
    finally:
        await asyncio.to_thread(serve.shutdown)
        ray.shutdown()


@pytest.fixture(params=[fake, in_process, http, pytest.param(handle, marks=pytest.mark.integration)])
async def offered(request, tmp_path) -> AsyncIterator[Offered]:
    async with request.param(Settings(home=tmp_path, media=MediaSettings(max_bytes=300_000))) as offered:
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

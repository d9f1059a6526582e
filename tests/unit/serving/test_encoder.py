import asyncio
import base64
import contextlib
import json
import threading
import time
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from core.errors import Overloaded, Unavailable
from core.ids import media_id
from core.ports import EncodedImage, EncodeFailure
from core.settings import EncoderSettings, MediaSettings, ServingSettings, Settings
from models.embedding_service import HttpEmbeddingService
from models.media.nsfw import NsfwModel
from serving.encoder import EncoderParts, ImageEncoderService
from tests.fakes.asgi import served
from tests.fakes.encoder import FakeImageEncoder
from tests.fakes.object_store import FakeObjectStore
from tests.unit.models.media.pictures import encoded, noise, quadrants, smooth
from tests.unit.models.media.videos import video


class GatedEncoder(FakeImageEncoder):
    """Holds each forward pass until the gate is open."""

    def __init__(self, **options):
        super().__init__(**options)
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, images):
        assert self.gate.wait(20)
        return super().encode(images)


@pytest.fixture
def store():
    return FakeObjectStore()


@pytest.fixture
def model():
    model = GatedEncoder()
    yield model
    model.gate.set()


@pytest.fixture
def make_service(store, model, tmp_path):
    made = []

    def make(**serving):
        settings = Settings(
            home=tmp_path,
            media=MediaSettings(max_bytes=100_000, max_video_bytes=100_000),
            encoder=EncoderSettings(batch_size=4),
            serving=ServingSettings(**{"encoder_wait_s": 0.2, **serving}),
        )
        service = ImageEncoderService(settings, lambda _: EncoderParts(model, store))
        made.append(service)
        return service

    yield make
    model.gate.set()
    for service in made:
        service.close()


@contextlib.asynccontextmanager
async def client_of(service):
    async def app(scope, receive, send):
        response = await service(Request(scope, receive))
        await response(scope, receive, send)

    async with served(app) as url:
        async with httpx.AsyncClient(base_url=url + "/models/image-encoder", timeout=20) as client:
            yield client


async def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_images_asked_for_together_share_forward_passes(make_service, store, model):
    service = make_service(encoder_wait_s=5.0)
    ids = [await store.put(encoded(smooth(64, 48, seed=n))) for n in range(6)]
    model.batches.clear()
    results = await service.encode_media(ids)
    assert all(isinstance(result, EncodedImage) for result in results)
    assert model.batches == [4, 2]


async def test_the_metrics_say_when_the_model_was_trained(store, model, tmp_path):
    trained = datetime(2026, 3, 1, tzinfo=UTC)
    service = ImageEncoderService(Settings(home=tmp_path), lambda _: EncoderParts(model, store, trained))
    try:
        async with client_of(service) as client:
            metrics = (await client.get("/metrics")).text
    finally:
        service.close()
    name = "riverlight_model_created_timestamp_seconds"
    [line] = [line for line in metrics.splitlines() if line.startswith(f'{name}{{version="{model.version}"}}')]
    assert float(line.split()[-1]) == trained.timestamp()


async def test_a_video_is_the_mean_of_its_frames_embedded_together(make_service, store, model):
    service = make_service()
    dark, light = Image.new("RGB", (64, 48), (250, 10, 10)), Image.new("RGB", (64, 48), (10, 10, 250))
    moving = video(frames=16, gop=4, picture=lambda index: dark if index < 12 else light)
    first, second = (model.encode([np.asarray(picture)])[0] for picture in (dark, light))
    model.batches.clear()
    [result] = await service.encode_media([await store.put(moving)])
    assert model.batches == [4, 4]  # the batch size is four
    expected = 6 * first + 2 * second
    np.testing.assert_allclose(result.vector, expected / np.linalg.norm(expected), atol=0.02)
    assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)


async def test_the_score_of_a_video_is_that_of_its_worst_frame_and_nobody_else_pays(make_service, store, monkeypatch):
    shown = []

    def score(self, frames):
        shown.append(len(frames))
        return max(float(frame.mean()) for frame in frames) / 255

    monkeypatch.setattr(NsfwModel, "score", score)
    service = make_service()
    ids = [await store.put(video(frames=16)), await store.put(encoded(quadrants()))]
    moving, still = await service.encode_media(ids, signals=True)
    assert sorted(shown) == [1, 8]
    assert moving.nsfw > 0.6
    assert still.nsfw < 0.4
    shown.clear()
    assert [result.nsfw for result in await service.encode_media(ids)] == [None, None]
    assert not shown


async def test_a_score_that_fails_is_a_failure_of_its_image(make_service, store, monkeypatch):
    def fail(self, frames):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(NsfwModel, "score", fail)
    [result] = await make_service().encode_media([await store.put(encoded(quadrants()))], signals=True)
    assert (result.code, result.transient) == ("internal", False)


async def test_a_lone_image_does_not_wait_for_company(make_service, model):
    service = make_service(encoder_wait_s=60.0)
    model.batches.clear()
    async with asyncio.timeout(20):
        assert isinstance(await service.encode_bytes(encoded(quadrants())), EncodedImage)
    assert model.batches == [1]


async def test_an_image_the_model_fails_on_does_not_fail_its_batch(make_service, store, model):
    model.fails_on_height = 33
    service = make_service(encoder_wait_s=5.0)
    ids = [await store.put(encoded(noise(64, height, seed=height))) for height in (30, 31, 33)]
    first, second, third = await service.encode_media(ids)
    assert isinstance(first, EncodedImage)
    assert isinstance(second, EncodedImage)
    assert isinstance(third, EncodeFailure)
    assert (third.code, third.transient) == ("internal", False)


async def test_a_vector_that_is_not_finite_is_a_failure_not_an_answer(make_service, model, monkeypatch):
    service = make_service()
    monkeypatch.setattr(model, "encode", lambda images: np.full((len(images), model.dim), np.nan, np.float32))
    result = await service.encode_bytes(encoded(quadrants()))
    assert isinstance(result, EncodeFailure)
    assert result.code == "invalid-vector"


async def test_media_that_arrives_a_moment_late_is_found(make_service, store):
    service = make_service()
    data = encoded(quadrants())
    asked = asyncio.create_task(service.encode_media([media_id(data)]))
    await asyncio.sleep(0.05)
    await store.put(data)
    [result] = await asked
    assert isinstance(result, EncodedImage)


async def test_a_store_that_does_not_answer_is_a_transient_failure(make_service, store, monkeypatch):
    async def down(media_id):
        raise Unavailable("the store is down")

    service = make_service()
    monkeypatch.setattr(store, "get", down)
    [result] = await service.encode_media([media_id(b"x")])
    assert (result.code, result.transient) == ("unavailable", True)


async def test_damaged_bytes_in_the_store_are_a_permanent_failure(make_service, store):
    service = make_service()
    key = await store.put(encoded(quadrants()))
    store.objects[key] = encoded(smooth(10, 10))
    [result] = await service.encode_media([key])
    assert (result.code, result.transient) == ("integrity", False)


async def test_what_misses_its_deadline_is_a_transient_failure_and_the_rest_is_answered(make_service, store, model):
    service = make_service()
    good = await store.put(encoded(quadrants()))
    model.gate.clear()
    results = await service.encode_media([good, "not an id"], timeout_s=0.5)
    assert (results[0].code, results[0].transient) == ("timeout", True)
    assert (results[1].code, results[1].transient) == ("invalid-input", False)
    model.gate.set()
    assert isinstance((await service.encode_media([good]))[0], EncodedImage)


async def test_more_images_than_the_house_holds_are_refused_with_429_and_retry_after(make_service, store, model):
    service = make_service(max_ongoing_requests=1, max_queued_requests=2)
    key = await store.put(encoded(quadrants()))
    model.gate.clear()
    async with client_of(service) as client:
        held = asyncio.create_task(client.post("/encode", json={"media_ids": [key] * 3}))
        await until(lambda: service.admitted == 3)
        refused = await client.post("/encode-bytes", content=encoded(quadrants()))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "overloaded"
        model.gate.set()
        assert (await held).status_code == 200
        assert (await client.post("/encode-bytes", content=encoded(quadrants()))).status_code == 200


async def test_clients_that_leave_take_their_images_with_them(make_service, model):
    service = make_service(max_ongoing_requests=64, max_queued_requests=64)
    model.gate.clear()
    async with client_of(service) as client:
        tasks = [asyncio.create_task(client.post("/encode-bytes", content=encoded(quadrants()))) for _ in range(40)]
        await until(lambda: service.admitted == 40)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: service.admitted == 0)
        model.gate.set()
        assert (await client.post("/encode-bytes", content=encoded(quadrants()))).status_code == 200


async def test_the_event_loop_stays_live_while_the_model_computes(make_service, model):
    service = make_service()
    model.gate.clear()
    async with client_of(service) as client:
        working = asyncio.create_task(client.post("/encode-bytes", content=encoded(quadrants())))
        await until(lambda: service.admitted == 1)
        assert (await client.get("/healthz")).json()["admitted"] == 1
        model.gate.set()
        assert (await working).status_code == 200


async def test_a_forward_pass_that_hangs_makes_the_service_unhealthy(make_service, model, monkeypatch):
    monkeypatch.setattr("serving.encoder._STUCK_AFTER_S", 0.05)
    service = make_service()
    model.gate.clear()
    async with client_of(service) as client:
        working = asyncio.create_task(client.post("/encode-bytes", content=encoded(quadrants())))
        await until(lambda: service._embedder.batcher.busy_for_s > 0.05)
        assert (await client.get("/healthz")).status_code == 503
        with pytest.raises(Unavailable, match="forward pass"):
            service.check_health()
        model.gate.set()
        await working
        assert (await client.get("/healthz")).status_code == 200


async def test_the_answer_on_the_wire_is_base64_float32(make_service, model):
    async with client_of(make_service()) as client:
        answer = await client.post("/encode-bytes?crop=0,0,0.5,0.5", content=encoded(quadrants()))
    [result] = answer.json()["results"]
    vector = np.frombuffer(base64.b64decode(result["vector"]), "<f4")
    assert vector.shape == (model.dim,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert (result["outcome"], result["width"], result["model_version"]) == ("ok", 400, model.version)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/encode", b"{", 400, "not a request to encode"),
        ("/encode", b'{"media_ids": []}', 400, "media_ids"),
        ("/encode", json.dumps({"media_ids": ["a"] * 65}).encode(), 400, "media_ids"),
        ("/encode", b'{"media_ids": ["a"], "crop": [0, 0, 2, 2]}', 400, "crop"),
        ("/encode", b'{"media_ids": ["a"], "timeout_s": 1e9}', 400, "timeout_s"),
        ("/encode", b" " * 70_000, 413, "65536"),
        ("/encode-bytes", b"x" * 100_001, 413, "100000"),
        ("/encode-bytes?crop=1,2", b"x", 400, "crop"),
        ("/encode-bytes?crop=0,0,nan,1", b"x", 400, "crop"),
        ("/encode-bytes?timeout_s=-1", b"x", 400, "timeout_s"),
        ("/encode-bytes?timeout_s=nan", b"x", 400, "timeout_s"),
        ("/nothing", b"", 404, "no POST"),
    ],
)
async def test_a_wrong_request_is_answered_with_a_problem(make_service, path, body, status, said):
    async with client_of(make_service()) as client:
        answer = await client.post(path, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


async def test_a_body_without_a_length_is_cut_off_at_the_limit(make_service):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 10_000
            yield bytes(10_000)

    async with client_of(make_service()) as client:
        with contextlib.suppress(httpx.TransportError):  # the server may hang up before the client has read the answer
            assert (await client.post("/encode-bytes", content=endless())).status_code == 413
    assert sent < 50_000_000


async def test_metrics_tell_outcomes_stages_and_batches(make_service):
    async with client_of(make_service()) as client:
        await client.post("/encode-bytes", content=encoded(quadrants()))
        await client.post("/encode-bytes", content=b"no image")
        text = (await client.get("/metrics")).text
    assert 'riverlight_encoder_images_total{outcome="ok"} 1.0' in text
    assert 'riverlight_encoder_images_total{outcome="unsupported-media"} 1.0' in text
    assert 'riverlight_encoder_seconds_count{stage="forward"} 1.0' in text


async def test_closing_fails_what_waits(make_service, model):
    service = make_service()
    model.gate.clear()
    asked = asyncio.create_task(service.encode_bytes(encoded(quadrants())))
    await until(lambda: service._embedder.batcher.busy_for_s > 0)
    service.close()
    result = await asked
    assert (result.code, result.transient) == ("unavailable", True)


def answering(status, body=b"", **headers):
    async def app(scope, receive, send):
        names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": names})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_the_client_says_what_kept_the_service_from_answering():
    for app, error, said in (
        (answering(429, b'{"detail": "full"}', retry_after="7"), Overloaded, "full"),
        (answering(503), Unavailable, "503"),
        (answering(500, b"oops"), Unavailable, "oops"),
        (answering(404), Unavailable, "404"),
        (answering(200, b"<html>"), Unavailable, "does not answer like an image encoder"),
        (answering(200, b'{"results": []}'), Unavailable, "0 results for 1"),
    ):
        async with served(app) as url:
            service = HttpEmbeddingService(url)
            with pytest.raises(error, match=said) as raised:
                await service.encode_bytes(b"x")
            if error is Overloaded:
                assert raised.value.retry_after_s == 7
            await service.aclose()
    service = HttpEmbeddingService(url)  # nobody listens there any more
    with pytest.raises(Unavailable, match="cannot be reached"):
        await service.encode_media(["x"])
    await service.aclose()


async def test_the_client_gives_up_on_a_service_that_does_not_answer():
    async def silent(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async with served(silent) as url:
        service = HttpEmbeddingService(url)
        with pytest.raises(Unavailable, match="did not answer"):
            await service.encode_bytes(b"x", timeout_s=0.2)
        await service.aclose()

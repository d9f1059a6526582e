"""Goal G26 for the image encoder, which is an application of its own behind the same address."""

import httpx
import pytest
from starlette.requests import Request

from core.access.credentials import TokenFile
from core.access.roles import Role
from core.errors import Unavailable
from core.settings import EncoderSettings, Settings
from models.embedding_service import HttpEmbeddingService
from serving.access import EVERYBODY
from serving.encoder import EncoderParts, ImageEncoderService
from tests.fakes.asgi import served
from tests.fakes.encoder import FakeImageEncoder
from tests.fakes.object_store import FakeObjectStore
from tests.unit.core.access.token_factory import WRONG, TokenFactory

ROUTES = {
    ("POST", "encode"): {Role.service},
    ("POST", "encode-bytes"): {Role.service},
    ("GET", "metrics"): {Role.service, Role.admin},
    ("GET", "healthz"): EVERYBODY,
}
PREFIX = "/models/image-encoder/"


@pytest.fixture
def factory(tmp_path):
    return TokenFactory(tmp_path / "access")


@pytest.fixture
def service(factory, tmp_path):
    settings = Settings(home=tmp_path, auth=factory.settings, encoder=EncoderSettings(batch_size=4))
    service = ImageEncoderService(settings, lambda _: EncoderParts(FakeImageEncoder(), FakeObjectStore()))
    yield service
    service.close()


def application(service):
    async def app(scope, receive, send):
        response = await service(Request(scope, receive))
        await response(scope, receive, send)

    return app


@pytest.fixture
async def client(service):
    transport = httpx.ASGITransport(app=application(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://encoder") as client:
        yield client


def test_every_route_of_the_encoder_says_who_may_call_it(service):
    assert {route: allowed for route, (allowed, _) in service.routes.items()} == ROUTES


async def test_without_a_valid_token_nobody_gets_in(client, factory):
    for (method, name), allowed in ROUTES.items():
        for kind in ("none", *WRONG):
            headers = {} if kind == "none" else {"authorization": f"Bearer {WRONG[kind](factory, tuple(Role))}"}
            answer = await client.request(method, PREFIX + name, headers=headers)
            assert answer.status_code == (200 if allowed is EVERYBODY else 401), (name, kind)
    assert (await client.get(PREFIX + "nothing")).status_code == 401


@pytest.mark.parametrize("role", Role)
async def test_each_role_opens_its_own_routes_and_no_other(client, factory, role):
    headers = {"authorization": f"Bearer {factory.right(role)}"}
    for (method, name), allowed in ROUTES.items():
        answer = await client.request(method, PREFIX + name, headers=headers)
        may = allowed is EVERYBODY or role in allowed
        assert (answer.status_code not in (401, 403)) is may, (role, name, answer.text)


async def test_a_worker_with_its_token_is_answered_and_one_without_waits_for_it(service, factory, tmp_path):
    token = tmp_path / "worker.jwt"
    async with served(application(service)) as url:
        worker = HttpEmbeddingService(url, credentials=TokenFile(token))
        try:
            with pytest.raises(Unavailable):
                await worker.encode_media(["ab" * 32])
            token.write_text(factory.right(Role.reader))
            with pytest.raises(Unavailable, match="403"):
                await worker.encode_media(["ab" * 32])
            token.write_text(factory.right(Role.service))
            [result] = await worker.encode_media(["ab" * 32])
            assert result.code == "missing-media"
        finally:
            await worker.aclose()

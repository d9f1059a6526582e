"""Goal G26: every route × every way of asking. The routes are those of the application, not of a list kept here."""

import re

import pytest

from core.access.roles import GRANTED, Principal, Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from serving.access import COOKIE, Door
from serving.gateway import access, entrance
from serving.gateway.access import ROUTES
from serving.gateway.api import create_api
from tests.unit.core.access.token_factory import WRONG, TokenFactory
from tests.unit.serving.gateway.conftest import Shape, picture

CLOCK = SystemClock()
LOCKED = {
    route: roles for route, (roles, _) in ROUTES.items() if roles is not None and not route[1].startswith("/docs")
}
OPEN = [route for route, (roles, _) in ROUTES.items() if roles is None]


@pytest.fixture
def factory(tmp_path):
    return TokenFactory(tmp_path / "access")


@pytest.fixture
def guarded(make_world, factory):
    """A gateway that asks for tokens."""
    return make_world(
        Shape(auth=factory.settings, door=Door(TokenVerifier(factory.settings, factory.folder.public_file, CLOCK)))
    )


def path_of(template: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: "ab" * 32 if found[1] != "stream" else "uploads", template)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def routes_of(api) -> set[tuple[str, str]]:
    return {(method, route.path) for route in api.state.routes for method in route.methods if method != "HEAD"}


async def test_every_route_of_the_application_says_who_may_call_it(world, guarded):
    assert routes_of(create_api(world.deps)) == set(ROUTES)
    documented = (await world.client.get("/openapi.json")).json()["paths"]
    assert {(method.upper(), path) for path, methods in documented.items() for method in methods} <= set(ROUTES)
    locked = routes_of(create_api(guarded.deps))
    assert locked == {route for route in ROUTES if not route[1].startswith("/docs")}


async def test_a_route_that_nobody_declared_is_answered_to_nobody(world, guarded, factory, monkeypatch):
    declared = dict(ROUTES)
    del declared["GET", "/v1/index"]
    monkeypatch.setattr(entrance, "ROUTES", declared)
    everything = bearer(factory.right(*Role))
    assert (await world.client.get("/v1/index")).status_code == 403
    assert (await guarded.client.get("/v1/index", headers=everything)).status_code == 403
    assert (await guarded.client.get("/v1/index")).status_code == 401


async def test_a_route_added_behind_the_tables_back_does_not_exist_for_callers(world):
    import httpx

    api = create_api(world.deps)

    @api.get("/v1/forgotten")
    async def forgotten() -> str:
        return "secret"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://gateway") as client:
        answer = await client.get("/v1/forgotten")
    assert answer.status_code == 404
    assert "secret" not in answer.text


async def test_g26_without_a_valid_token_nobody_gets_in_anywhere(guarded, factory):
    everything = tuple(Role)
    tried = 0
    for method, template in LOCKED:
        for kind in ("none", *WRONG):
            headers = {} if kind == "none" else bearer(WRONG[kind](factory, everything))
            answer = await guarded.client.request(method, path_of(template), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, template, kind)
            assert answer.headers["www-authenticate"] == "Bearer"
            tried += 1
    print(f"G26: {tried} combinations of {len(LOCKED)} routes and {len(WRONG) + 1} kinds of no token: 0 got in")
    assert tried == len(LOCKED) * (len(WRONG) + 1)


@pytest.mark.parametrize("role", Role)
async def test_g26_each_role_opens_its_own_routes_and_no_other(guarded, factory, role):
    headers = bearer(factory.right(role))
    for (method, template), allowed in LOCKED.items():
        answer = await guarded.client.request(method, path_of(template), headers=headers)
        if role in allowed:
            assert answer.status_code not in (401, 403), (method, template, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, template)


async def test_a_valid_token_without_a_role_opens_nothing(guarded, factory):
    headers = bearer(factory.right())
    for method, template in LOCKED:
        answer = await guarded.client.request(method, path_of(template), headers=headers)
        assert answer.status_code == 403, (method, template)


async def test_the_routes_without_a_token_are_few_and_show_no_data(guarded):
    guarded.index("an-item", picture(), title="a-title")
    assert set(OPEN) == {
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/"),
        ("GET", "/console/sign-in"),
        ("GET", "/console/{name}"),
        ("POST", "/console/session"),
        ("DELETE", "/console/session"),
    }
    for method, template in OPEN:
        answer = await guarded.client.request(method, template.replace("{name}", "console.js"))
        assert answer.status_code < 500
        assert "a-title" not in answer.text and "an-item" not in answer.text


async def test_without_a_token_nobody_learns_which_paths_exist(guarded, factory):
    for method, path in (("GET", "/nothing"), ("DELETE", "/v1/media"), ("GET", "/docs")):
        assert (await guarded.client.request(method, path)).status_code == 401
    known = bearer(factory.right(Role.reader))
    assert (await guarded.client.get("/nothing", headers=known)).status_code == 404
    wrong_method = await guarded.client.delete("/v1/media", headers=known)
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")


async def test_nothing_of_a_body_is_read_for_a_caller_who_may_not_send_it(guarded, factory):
    read = 0

    async def body():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 65_536

    for headers in ({}, bearer(factory.right(Role.reader))):
        answer = await guarded.client.post("/v1/media", content=body(), headers=headers)
        assert answer.status_code in (401, 403)
        assert answer.headers["connection"] == "close"
    assert read == 0


async def test_other_schemes_and_tokens_in_the_address_count_for_nothing(guarded, factory):
    token = factory.right(*Role)
    for headers in ({"authorization": f"Basic {token}"}, {"authorization": token}, {"authorization": "Bearer"}):
        assert (await guarded.client.get("/v1/index", headers=headers)).status_code == 401
    assert (await guarded.client.get("/v1/index", params={"access_token": token})).status_code == 401


async def test_a_dropped_key_ends_its_tokens(guarded, factory):
    headers = bearer(factory.right(Role.reader))
    assert (await guarded.client.get("/v1/index", headers=headers)).status_code == 200
    factory.folder.new(CLOCK.now())
    factory.folder.drop(factory.key.kid)
    for _ in range(300):
        if (await guarded.client.get("/v1/index", headers=headers)).status_code == 401:
            return
        import asyncio

        await asyncio.sleep(0.01)
    pytest.fail("the token is still accepted")


async def sign_in(guarded, token: str):
    answer = await guarded.client.post("/console/session", json={"token": token})
    return answer, answer.headers.get("set-cookie", "")


async def test_the_console_takes_a_token_into_a_cookie_that_scripts_and_other_sites_cannot_use(guarded, factory):
    token = factory.right(Role.reader)
    answer, cookie = await sign_in(guarded, token)
    assert answer.status_code == 204
    for part in (f"{COOKIE}={token}", "HttpOnly", "SameSite=strict", "Path=/", "Max-Age=900"):
        assert part in cookie
    assert (await guarded.client.get("/console")).status_code == 200
    search = {"json": {"item_id": "x"}}
    from_elsewhere = await guarded.client.post("/v1/search/images", **search, headers={"sec-fetch-site": "cross-site"})
    assert from_elsewhere.status_code == 403
    assert (await guarded.client.post("/v1/search/images", **search)).status_code == 403
    own = await guarded.client.post("/v1/search/images", **search, headers={"sec-fetch-site": "same-origin"})
    assert own.status_code == 404  # there is no item x
    gone = await guarded.client.delete("/console/session")
    assert "Max-Age=0" in gone.headers["set-cookie"]
    guarded.client.cookies.clear()
    assert (await guarded.client.get("/console")).status_code == 401


async def test_over_https_the_cookie_stays_on_https(guarded, factory):
    answer = await guarded.client.post(
        "/console/session", json={"token": factory.right(Role.reader)}, headers={"x-forwarded-proto": "https"}
    )
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("kind", ["expired", "HS256 with the public key", "alg none", "no token at all"])
async def test_a_token_that_is_not_valid_becomes_no_cookie(guarded, factory, kind):
    answer, cookie = await sign_in(guarded, WRONG[kind](factory, tuple(Role)))
    assert (answer.status_code, cookie) == (401, "")


async def test_a_browser_without_a_token_is_led_to_the_sign_in_page(guarded):
    answer = await guarded.client.get("/console", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
    page = await guarded.client.get("/console/sign-in")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for file in re.findall(r'(?:src|href)="(/console/[^"]+)"', page.text):
        assert (await guarded.client.get(file)).status_code == 200


async def test_where_access_is_open_there_is_nothing_to_sign_in_to(world):
    answer, cookie = await sign_in(world, "whatever")
    assert (answer.status_code, cookie) == (204, "")
    assert (await world.client.get("/console")).status_code == 200


def test_every_granted_role_opens_something_and_services_are_not_granted():
    for role in GRANTED:
        assert any(role in allowed for allowed in LOCKED.values())
    assert Role.service not in GRANTED
    assert Principal(None, frozenset()).roles.isdisjoint(Role)
    assert access.ROUTES["GET", "/v1/features/users/{user_id}"][0] == {Role.admin, Role.service}

import asyncio
import re
from unittest import mock

import httpx
import pytest

from core.clock import SystemClock
from core.entries import Version
from core.errors import NotFound
from core.settings import HttpSettings, ServingSettings
from monitoring.catalogue import REQUEST_SECONDS, REQUESTS_SHED
from storage.catalogue import Item
from tests.unit.serving.gateway.conftest import Shape, picture


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not-found"),
        ("DELETE", "/v1/media", 405, "method-not-allowed"),
        ("GET", "/v1/items/nobody", 404, "not-found"),
        ("GET", "/v1/traces/x", 400, "invalid-request"),
        ("POST", "/v1/events/none", 404, "not-found"),
        ("GET", "/console/secret.py", 404, "not-found"),
    ],
)
async def test_every_error_is_a_problem_document(world, method, path, status, code):
    answer = await world.client.request(method, path)
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["trace_id"] == answer.headers["x-trace-id"]
    assert {"type", "title", "detail"} <= body.keys()


@pytest.mark.parametrize("path", ["/livez", "/v1/index", "/nothing", "/console", "/v1/traces/x"])
async def test_every_answer_has_a_trace_a_timing_and_security_headers(world, path):
    headers = (await world.client.get(path)).headers
    assert re.fullmatch("[0-9a-f]{32}", headers["x-trace-id"])
    assert "total;dur=" in headers["server-timing"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("traceparent", "continued"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", True),
        (f"00-{'00' * 16}-{'cd' * 8}-01", False),
        (f"00-{'ab' * 16}-{'00' * 8}-01", False),
        (f"ff-{'ab' * 16}-{'cd' * 8}-01", False),
        (f"00-{'AB' * 16}-{'cd' * 8}-01", False),
        ("nonsense", False),
    ],
)
async def test_a_w3c_trace_is_continued_when_it_is_one(world, traceparent, continued):
    answer = await world.client.get("/livez", headers={"traceparent": traceparent})
    assert (answer.headers["x-trace-id"] == "ab" * 16) is continued


async def test_a_request_that_takes_too_long_is_answered_with_504(make_world):
    world = make_world(Shape(http=HttpSettings(request_timeout_s=0.2)))

    async def never(*_args, **_kwargs):
        await asyncio.Event().wait()

    with mock.patch.object(world.deps.collector, "collect", never):
        answer = await world.client.post("/v1/events/uploads", json={})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")


async def test_waiting_for_a_place_and_being_answered_have_one_deadline_together(make_world):
    limits = ServingSettings(max_ongoing_requests=1, max_queued_requests=1)
    world = make_world(Shape(serving=limits, http=HttpSettings(request_timeout_s=1)))
    worked_for_s = iter([0.8, 30.0])

    async def work(*_args, **_kwargs):
        await asyncio.sleep(next(worked_for_s))
        raise NotFound("nothing")

    loop = asyncio.get_running_loop()
    began = loop.time()
    with mock.patch.object(world.deps.collector, "collect", work):
        answers = await asyncio.gather(*(world.client.post("/v1/events/uploads", json={}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [404, 504]
    assert loop.time() - began < 1.5  # not 0.8 and another 1.0


async def test_requests_beyond_the_queue_are_shed_and_health_is_not(make_world):
    world = make_world(Shape(serving=ServingSettings(max_ongoing_requests=1, max_queued_requests=1)))
    begun, release = asyncio.Event(), asyncio.Event()

    async def wait(*_args, **_kwargs):
        begun.set()
        await release.wait()
        raise httpx.ReadError("released")

    with mock.patch.object(world.deps.collector, "collect", wait):
        waiting = [asyncio.create_task(world.client.post("/v1/events/uploads", json={})) for _ in range(2)]
        await begun.wait()
        await asyncio.sleep(0.2)  # the other one has come by then, and waits
        shed = await world.client.post("/v1/events/uploads", json={})
        assert (shed.status_code, shed.json()["code"]) == (429, "overloaded")
        assert int(shed.headers["retry-after"]) >= 1
        assert (await world.client.get("/livez")).status_code == 200
        assert world.deps.recorder.value(REQUESTS_SHED, route="other") == 1
        release.set()
        answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {500}  # what the handler raised is nobody's business
    assert "released" not in answers[0].text


async def test_requests_whose_bodies_came_late_are_shed_beyond_the_queue_too(make_world):
    world = make_world(Shape(serving=ServingSettings(max_ongoing_requests=1, max_queued_requests=1)))
    sent, release = asyncio.Event(), asyncio.Event()

    async def wait(*_args, **_kwargs):
        await release.wait()
        raise NotFound("nothing")

    async def late():
        yield b"["
        await sent.wait()
        yield b"]"

    with mock.patch.object(world.deps.collector, "collect", wait):
        asked = [asyncio.create_task(world.client.post("/v1/events/uploads", content=late())) for _ in range(4)]
        await asyncio.sleep(0.2)  # all have begun, and none takes a place
        assert (await world.client.get("/v1/index")).status_code == 200
        sent.set()
        shed = asyncio.as_completed(asked, timeout=20)
        assert [(await next(shed)).status_code for _ in range(2)] == [429, 429]
        release.set()
        answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [404, 404, 429, 429]


async def test_a_client_that_went_away_is_no_error_of_the_gateway(world):
    messages = iter([{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/events/uploads", "raw_path": b"/v1/events/uploads",
        "query_string": b"", "root_path": "", "headers": [(b"content-length", b"100")],
    }  # fmt: skip
    await world.client._transport.app(scope, receive, send)
    assert sent == []
    status = {"method": "POST", "status": "499"}
    assert world.deps.recorder.value(REQUEST_SECONDS, route="/v1/events/{stream}", **status) == 1


async def test_requests_are_measured_by_route_and_never_by_what_was_asked_for(world):
    await world.client.get("/v1/items/some-secret-id")
    await world.client.get("/no/such/path")
    value = world.deps.recorder.value
    assert value(REQUEST_SECONDS, route="/v1/items/{item_id}", method="GET", status="404") == 1
    assert value(REQUEST_SECONDS, route="unmatched", method="GET", status="404") == 1
    metrics = await world.client.get("/metrics")
    assert "riverlight_http_request_seconds" in metrics.text
    assert "some-secret-id" not in metrics.text


async def test_readiness_follows_the_index_and_liveness_its_follower(world):
    assert (await world.client.get("/readyz")).status_code == 200
    with mock.patch.object(world.deps.follower, "ready", lambda: (False, "still reading")):
        answer = await world.client.get("/readyz")
        assert answer.status_code == 503
        assert "still reading" in answer.json()["detail"]
        assert "retry-after" in answer.headers
    with mock.patch.object(world.deps.follower, "alive", lambda: False):
        assert (await world.client.get("/livez")).status_code == 503


async def test_an_item_shows_what_was_decided_and_whether_it_is_searchable(world):
    now = SystemClock().now()
    data = picture()
    item = Item(
        "item", "owner", "image", "a" * 64, "Title", "", ("tag",), "en", "cat", "public", ("DE",), "active", False,
        Version(10**15, 0), "evt", now, now,
    )  # fmt: skip
    world.deps.catalogue.apply_items("test", [("evt", item)])
    answer = (await world.client.get("/v1/items/item")).json()
    assert (answer["title"], answer["tags"], answer["indexed"]) == ("Title", ["tag"], False)
    world.index("item", data, version=Version(10**15, 0))
    assert (await world.client.get("/v1/items/item")).json()["indexed"] is True


async def test_the_index_tells_its_size_and_place_in_the_log(world):
    world.index("item", picture())
    world.index("hidden", picture(1), state="hidden")
    answer = (await world.client.get("/v1/index")).json()
    assert (answer["items"], answer["hidden"], answer["ready"]) == (2, 1, True)
    assert answer["log"]["entries"]["applied"] == 2


async def test_features_of_the_unknown_are_missing_not_wrong(world):
    for kind in ("items", "users"):
        answer = (await world.client.get(f"/v1/features/{kind}/nobody")).json()
        assert (answer["entity_id"], answer["status"], answer["as_of"]) == ("nobody", "missing", None)
        assert set(answer["values"].values()) == {None}


async def test_the_console_shows_recent_public_items_and_loads_nothing_from_elsewhere(world):
    world.index("shown", picture(), title="<script>alert(1)</script>")
    world.index("private", picture(1), visibility="private", title="private-title")
    world.index("canary", picture(2), category="riverlight.canary", title="canary-title")
    page = await world.client.get("/console")
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text and "<script>alert" not in page.text
    assert "private-title" not in page.text and "canary-title" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses and all(address.startswith("/") and not address.startswith("//") for address in addresses)
    for address in ("/console/console.js", "/console/console.css"):
        assert (await world.client.get(address)).status_code == 200


async def test_the_openapi_document_promises_problem_documents_and_no_422(world):
    document = (await world.client.get("/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert operations
    for operation in operations:
        assert "422" not in operation["responses"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]

"""Goal G33: what is secret or personal is in no log, metric, trace header, error or health answer.

What is kept on purpose, in stores with roles in front of them: ids of users and items in events, features and search
traces, because that is what they are about.
"""

import json
import logging
from unittest import mock

import pytest

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.settings import RateSettings
from monitoring.logs import configure_logs
from serving.access import COOKIE, Door
from tests.unit.core.access.token_factory import WRONG, TokenFactory
from tests.unit.serving.gateway.conftest import Shape, picture, upload_event

EMAIL, ADDRESS, TEXT, PASSWORD = "ada.planted@example.org", "203.0.113.77", "my-planted-diagnosis", "hunter2-planted"
USER = "user-planted-4711"


@pytest.fixture
def logs(capfd, monkeypatch):
    """Log as a process does, to standard error, with everything in it."""
    before = logging.getLogger().handlers[:]
    configure_logs("gateway", "DEBUG")
    yield capfd
    logging.getLogger().handlers[:] = before


async def test_g33_nothing_planted_comes_out_anywhere(make_world, tmp_path, logs):
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    world = make_world(Shape(auth=factory.settings, door=door, rates=RateSettings(refused="5/minute")))
    everything = (Role.reader, Role.producer, Role.reviewer, Role.admin)
    good = factory.right(*everything, subject=USER)
    wrong = [make(factory, everything) for make in WRONG.values()]
    planted = [EMAIL, ADDRESS, TEXT, PASSWORD, USER, good, *[token for token in wrong if len(token) < 5_000]]
    headers = {
        "authorization": f"Bearer {good}",
        "x-forwarded-for": ADDRESS,
        "forwarded": f"for={ADDRESS}",
        "user-agent": f"browser of {EMAIL}",
        "referer": f"https://elsewhere.example/?password={PASSWORD}",
        "cookie": f"session={PASSWORD}",
    }
    answers = []

    async def ask(method: str, path: str, **request):
        answer = await world.client.request(method, path, **{"headers": headers, **request})
        answers.append((f"{method} {path[:40]} {answer.status_code}", answer))
        return answer

    media = (await ask("POST", "/v1/media", files={"file": (f"{EMAIL}.png", picture())})).json()["media_id"]
    event = upload_event("item-1", media, title=TEXT, description=f"{EMAIL} {ADDRESS}", owner_id=USER)
    assert (await ask("POST", "/v1/events/uploads", json=event)).status_code == 202
    for broken in (
        {**event, "data": {**event["data"], "kind": TEXT}},
        {**event, "time": TEXT},
        {**event, "type": EMAIL},
    ):
        assert (await ask("POST", "/v1/events/uploads", json=broken)).status_code == 400
    await ask("POST", "/v1/events/uploads", content=json.dumps(event)[:-5] + EMAIL)
    await ask("POST", "/v1/search/images", json={"item_id": "x", "filters": {"region": TEXT, "mail": EMAIL}})
    await ask("POST", "/v1/search/images", content=f'{{"media_id": "{EMAIL}"')
    await ask("POST", "/v1/search/images", json={"media_id": media})
    await ask("POST", "/v1/search/images", data={"k": TEXT}, files={"file": (EMAIL, TEXT.encode())})
    await ask("GET", f"/v1/features/users/{EMAIL}")
    await ask("GET", f"/{PASSWORD}/{EMAIL}?token={PASSWORD}")
    await ask("GET", f"/v1/traces/{PASSWORD}")
    await ask("POST", "/console/session", json={"token": PASSWORD})
    for token in wrong:
        await ask("GET", "/v1/index", headers={**headers, "authorization": f"Bearer {token}"})
        await ask("GET", "/v1/index", headers={"cookie": f"{COOKIE}={token}"})
    with mock.patch.object(world.deps.collector, "collect", side_effect=RuntimeError("boom")):
        assert (await ask("POST", "/v1/events/uploads", json=event)).status_code == 500
    with mock.patch.object(world.deps.features, "user_features", side_effect=RuntimeError("boom")):
        assert (await ask("GET", f"/v1/features/users/{EMAIL}")).status_code == 500
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert (await ask("GET", path)).status_code == 200

    logged = logs.readouterr()
    outputs = {"the log": logged.err + logged.out}
    for name, answer in answers:
        outputs[name + " headers"] = str(answer.headers)
        # An answer may speak to its own caller about what they have just asked for; nothing else may.
        if answer.status_code >= 500 or name.startswith(("GET /livez", "GET /readyz", "GET /metrics", "GET /openapi")):
            outputs[name] = answer.text
        if answer.status_code >= 400:
            assert not any(secret in answer.text for secret in (PASSWORD, good, *wrong)), (name, answer.text)
    hits = [(where, secret[:30]) for where, text in outputs.items() for secret in planted if secret in text]
    print(f"G33: {len(answers)} requests, {len(planted)} planted values, {len(outputs)} outputs: {len(hits)} hits")
    assert hits == []
    assert '"request_failed"' in outputs["the log"]  # it did log

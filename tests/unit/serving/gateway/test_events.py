import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from core import events, topics
from tests.unit.serving.gateway.conftest import picture, upload_event


def click(user: str = "user", **changes) -> dict:
    return {
        "specversion": "1.0",
        "id": "evt-click",
        "source": "test",
        "type": "riverlight.interaction.click",
        "time": datetime.now(UTC).isoformat(),
        "subject": user,
        "data": {"user_id": user, "item_id": "item"},
        **changes,
    }


async def send(world, stream: str, body) -> tuple[int, dict]:
    answer = await world.client.post(f"/v1/events/{stream}", json=body)
    return answer.status_code, answer.json()


async def test_an_event_is_published_under_its_key_before_the_answer(world):
    status, answer = await send(world, "interactions", click("ann"))
    assert (status, answer) == (202, {"accepted": ["evt-click"], "rejected": [], "queued": False})
    [record] = world.publisher.of(topics.INTERACTIONS.name)
    assert record.key == "ann"
    assert events.decode(record.value, "interactions").data.item_id == "item"


async def test_of_an_array_each_event_is_judged_alone(world):
    status, answer = await send(world, "interactions", [click(id="a"), {"no": "event"}, click(id="c"), 17])
    assert status == 202
    assert answer["accepted"] == ["a", "c"]
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [(1, "invalid-event"), (3, "invalid-event")]
    assert len(world.publisher.records) == 2


async def test_when_none_is_accepted_it_is_a_bad_request_that_names_each(world):
    status, answer = await send(world, "interactions", [{"no": "event"}, click(subject="somebody-else")])
    assert status == 400
    assert [one["index"] for one in answer["errors"]] == [0, 1]
    assert world.publisher.records == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[",
        b"\xff",
        b'{"time": NaN}',
        b"[" * 60_000,
        b"null",
        b'"text"',
        b"[1,",
        b'{"type": "riverlight.x"}',
    ],
)
async def test_what_is_no_event_is_a_bad_request(world, body):
    answer = await world.client.post("/v1/events/uploads", content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_empty_array_is_accepted_and_does_nothing(world):
    assert await send(world, "interactions", []) == (202, {"accepted": [], "rejected": [], "queued": False})


async def test_an_unknown_stream_is_not_found(world):
    status, answer = await send(world, "rumours", click())
    assert status == 404
    assert "uploads" in answer["detail"]


async def test_an_event_from_the_future_is_rejected(world):
    soon, later = (datetime.now(UTC) + timedelta(seconds=s) for s in (60, 3600))
    status, answer = await send(
        world, "interactions", [click(id="soon", time=soon.isoformat()), click(id="later", time=later.isoformat())]
    )
    assert (status, answer["accepted"]) == (202, ["soon"])
    assert answer["rejected"][0]["code"] == "future-event"


async def test_an_upload_needs_its_media_to_be_stored(world):
    stored = await world.store(picture())
    status, answer = await send(world, "uploads", [upload_event("a", "f" * 64), upload_event("b", stored)])
    assert (status, answer["accepted"]) == (202, ["evt-b"])
    assert answer["rejected"][0]["code"] == "missing-media"
    status, answer = await send(world, "uploads", upload_event("a", "f" * 64))
    assert (status, answer["code"]) == (400, "missing-media")


async def test_too_many_events_in_one_call_are_refused(world):
    status, answer = await send(world, "interactions", [{}] * 51)
    assert (status, answer["code"]) == (413, "too-large")


async def test_while_the_broker_does_not_answer_events_wait_in_the_outbox(world):
    world.publisher.down = True
    status, answer = await send(world, "interactions", click("ann"))
    assert (status, answer["queued"], answer["accepted"]) == (202, True, ["evt-click"])
    [(_, record)] = world.deps.catalogue.outbox_pending(10)
    assert (record.topic, record.key) == (topics.INTERACTIONS.name, "ann")


async def test_after_one_call_waited_for_a_dead_broker_the_next_ones_do_not(world):
    world.publisher.down = True
    await send(world, "interactions", click(id="a"))
    world.publisher.down = False  # nobody notices yet: the second call does not even ask
    _, answer = await send(world, "interactions", click(id="b"))
    assert answer["queued"] is True
    assert world.deps.catalogue.outbox_size() == 2


async def test_a_full_queue_is_answered_with_429_and_nothing_is_taken(world):
    world.publisher.full = True
    answer = await world.client.post("/v1/events/interactions", json=click())
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert world.deps.catalogue.outbox_size() == 0


async def test_an_event_without_a_trace_gets_the_requests_and_one_with_a_trace_keeps_it(world):
    theirs = f"00-{'ab' * 16}-{'cd' * 8}-01"
    headers = {"traceparent": f"00-{'12' * 16}-{'34' * 8}-01"}
    body = [click(id="a"), click(id="b", traceparent=theirs)]
    answer = await world.client.post("/v1/events/interactions", json=body, headers=headers)
    assert answer.headers["x-trace-id"] == "12" * 16
    sent = [msgspec.json.decode(record.value)["traceparent"] for record in world.publisher.records]
    assert sent[0].split("-")[1] == "12" * 16
    assert sent[1] == theirs


async def test_a_body_over_the_limit_is_refused_even_when_its_length_is_not_declared(world):
    async def chunks():
        for _ in range(40):
            yield b"[" + b" " * 4096

    answer = await world.client.post("/v1/events/interactions", content=chunks())
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert answer.headers["x-trace-id"]
    body = json.dumps([click()]) + " " * 70_000
    assert (await world.client.post("/v1/events/interactions", content=body)).status_code == 413

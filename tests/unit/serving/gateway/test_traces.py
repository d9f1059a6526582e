import pytest

from core.clock import SystemClock
from core.entries import Version
from core.settings import SearchSettings
from serving.traces import TraceStore
from storage.catalogue import Item, TraceRecord
from tests.unit.serving.gateway.conftest import Shape, picture, vector_of
from tests.unit.serving.gateway.test_search import near


async def trace_of(world, answer: dict, **query) -> dict:
    found = await world.client.get(f"/v1/traces/{answer['trace_id']}", params=query)
    assert found.status_code == 200, found.text
    return found.json()


async def test_a_trace_can_be_read_as_soon_as_its_answer_is_there(world):
    query = picture(1)
    media = await world.store(query)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9))
    world.index("far", picture(3), vector=near(vector_of(query), 0.1))
    trace = await trace_of(world, await world.search(media_id=media, k=7, filters={"owner_id": "owner"}))
    payload = trace["payload"]
    assert payload["asked"] == {
        "media_id": media,
        "filters": {"owner_id": "owner", "exclude_categories": ["riverlight.canary"]},
    }
    assert (payload["rules"]["k"], payload["model_version"]) == (7, "visual-search/test")
    assert payload["index"]["items"] == 2
    assert sum(payload["index"]["positions"].values()) == 2
    assert [(one["item_id"], one["reason"]) for one in payload["candidates"]] == [
        ("near", None),
        ("far", "below-min-score"),
    ]


async def test_a_trace_is_still_there_when_it_was_written_and_forgotten_by_the_process(world):
    answer = await world.search(media_id=await world.store(picture()))
    world.deps.traces.flush()
    assert world.deps.catalogue.trace(answer["trace_id"]) is not None
    assert (await trace_of(world, answer))["trace_id"] == answer["trace_id"]


async def test_an_unknown_trace_is_not_found(world):
    assert (await world.client.get("/v1/traces/" + "a" * 32)).status_code == 404
    assert (await world.client.get("/v1/traces/not-an-id")).status_code == 400


async def test_two_answers_in_one_callers_trace_have_traces_of_their_own(world):
    media = await world.store(picture())
    headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    first = (await world.client.post("/v1/search/images", json={"media_id": media}, headers=headers)).json()
    answer = await world.client.post("/v1/search/images", json={"media_id": media, "k": 1}, headers=headers)
    assert first["trace_id"] == "ab" * 16
    assert answer.json()["trace_id"] != first["trace_id"]
    assert answer.headers["x-trace-id"] == answer.json()["trace_id"]
    assert (await trace_of(world, answer.json()))["payload"]["rules"]["k"] == 1


async def test_why_not_names_the_reason_for_every_way_to_be_left_out(make_world):
    world = make_world(Shape(search=SearchSettings(overfetch=1.0)))
    query = picture(1)
    direction = vector_of(query)
    world.index("best", picture(2), vector=near(direction, 0.95), phash="0" * 16)
    world.index("copy", picture(3), vector=near(direction, 0.94), phash="0" * 16)
    world.index("other", picture(6), vector=near(direction, 0.9, 5))
    world.index("third", picture(7), vector=near(direction, 0.8, 7))
    world.index("far", picture(4), vector=near(direction, 0.1))
    world.index("hidden", picture(5), vector=direction, state="hidden")
    world.index("private", picture(8), vector=direction, visibility="private")
    world.index("foreign", picture(9), vector=direction, language="de")
    answer = await world.search(media_id=await world.store(query), k=2, filters={"language": "und"})
    assert [result["item_id"] for result in answer["results"]] == ["best", "other"]
    world.index("later", picture(10), vector=near(direction, 0.99), version=Version(4_000_000_000_000_000, 0))
    world.deps.catalogue.apply_items("test", [("evt", item("waiting")), ("evt-2", item("removed", state="deleted"))])
    expected = {
        "best": "answered",
        "copy": "near-duplicate",
        "third": "beyond-k",
        "far": "below-min-score",
        "hidden": "hidden",
        "private": "private",
        "foreign": "filtered",
        "later": "newer",
        "waiting": "not-indexed",
        "removed": "deleted",
        "nobody": "unknown",
    }
    found = {name: (await trace_of(world, answer, item_id=name))["why"] for name in expected}
    assert {name: why["reason"] for name, why in found.items()} == expected
    assert found["copy"]["because_of"] == "best"
    assert found["best"]["in_answer"] and found["best"]["position"] == 0
    assert found["far"]["score"] == pytest.approx(0.1, abs=0.01)


def item(item_id: str, state: str = "active") -> Item:
    now = SystemClock().now()
    return Item(
        item_id=item_id,
        owner_id="owner",
        kind="image",
        media_id="a" * 64,
        title="",
        description="",
        tags=(),
        language="und",
        category="",
        visibility="public",
        blocked_regions=(),
        state=state,
        unsafe=False,
        version=Version(1, 0),
        event_id="evt",
        created_at=now,
        updated_at=now,
    )


def test_traces_that_cannot_be_written_are_bounded_and_the_loss_is_counted(world):
    store = TraceStore(world.deps.catalogue, max_pending=3)
    for n in range(5):
        store.record(TraceRecord(f"{n:032x}", "visual_search", SystemClock().now(), {}))
    assert store.lost == 2
    assert store.get(f"{0:032x}") is None
    assert store.get(f"{4:032x}") is not None
    store.close()
    assert world.deps.catalogue.trace(f"{4:032x}") is not None

import asyncio
import json

import msgspec
import numpy as np
import pytest

from core.entries import Version
from core.errors import Unavailable
from core.ports import EncodeFailure
from core.settings import SearchSettings
from monitoring.catalogue import SEARCH_REMOVED, SEARCH_RESULTS
from serving.visual_search import CANARY_CATEGORY
from tests.unit.serving.gateway.conftest import DIM, Shape, picture, vector_of


def near(vector: np.ndarray, similarity: float, seed: int = 0) -> np.ndarray:
    """Return a direction whose cosine to `vector` is `similarity`."""
    other = np.random.default_rng(seed).normal(size=DIM)
    other -= vector * (other @ vector)
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def ids(answer: dict) -> list[str]:
    return [result["item_id"] for result in answer["results"]]


async def test_stored_media_that_is_not_indexed_is_embedded_and_finds_what_is_similar(world):
    query = picture(1)
    media = await world.store(query)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9), title="Near", tags=["a"], category="animals")
    world.index("far", picture(3), vector=near(vector_of(query), 0.1))
    answer = await world.search(media_id=media)
    assert ids(answer) == ["near"]
    assert answer["results"][0] == {
        "item_id": "near",
        "score": pytest.approx(0.9, abs=0.01),
        "media_id": answer["results"][0]["media_id"],
        "title": "Near",
        "owner_id": "owner",
        "tags": ["a"],
        "category": "animals",
    }
    assert world.embedding.calls == 1


async def test_indexed_media_is_searched_without_asking_the_encoder_unless_cropped(world):
    query = picture(1)
    media = await world.store(query)
    world.index("itself", query)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9))
    assert ids(await world.search(media_id=media)) == ["near"]
    assert world.embedding.calls == 0
    await world.search(media_id=media, crop=[0.1, 0.1, 0.5, 0.5])
    assert world.embedding.calls == 1


async def test_an_item_can_be_the_query(world):
    query = picture(1)
    world.index("itself", query)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9))
    assert ids(await world.search(item_id="itself")) == ["near"]
    answer = await world.client.post("/v1/search/images", json={"item_id": "nobody"})
    assert answer.status_code == 404


async def test_a_file_is_searched_and_not_stored(world):
    query = picture(1)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9))
    form = {"k": "5", "filters": json.dumps({"owner_id": "owner"}), "min_score": "0.2", "explain": "true"}
    answer = await world.client.post("/v1/search/images", files={"file": ("q.png", query)}, data=form)
    assert answer.status_code == 200, answer.text
    assert ids(answer.json()) == ["near"]
    assert answer.json()["explain"]["min_score"] == 0.2
    assert [candidate["item_id"] for candidate in answer.json()["explain"]["candidates"]] == ["near"]
    from core.ids import media_id

    assert not await world.deps.objects.exists(media_id(query))


async def test_nothing_is_an_answer(world):
    query = picture(1)
    world.index("far", picture(2), vector=near(vector_of(query), 0.2))
    assert (await world.search(media_id=await world.store(query)))["results"] == []
    assert world.deps.recorder.value(SEARCH_RESULTS, system="visual_search") == 1
    assert world.deps.recorder.value(SEARCH_REMOVED, system="visual_search", reason="below-min-score") == 1


async def test_filters_hold(world):
    query = picture(1)
    close = near(vector_of(query), 0.9)
    world.index("animal", picture(2), vector=close, category="animals", owner_id="ann", language="en", tags=["x", "y"])
    world.index("plant", picture(3), vector=close, category="plants", owner_id="bob", language="de", tags=["z"])
    world.index("blocked", picture(4), vector=close, blocked_regions=["DE"])
    media = await world.store(query)
    for filters, expected in [
        ({"category": "animals"}, {"animal"}),
        ({"owner_id": "bob"}, {"plant"}),
        ({"language": "de"}, {"plant"}),
        ({"tags_any": ["y", "z"]}, {"animal", "plant"}),
        ({"region": "DE"}, {"animal", "plant"}),
        ({"kind": "video"}, set()),
        ({}, {"animal", "plant", "blocked"}),
    ]:
        assert set(ids(await world.search(media_id=media, filters=filters))) == expected, filters


async def test_the_canary_is_found_only_by_who_asks_for_it(world):
    query = picture(1)
    world.index("canary", picture(2), vector=near(vector_of(query), 0.9), category=CANARY_CATEGORY)
    media = await world.store(query)
    assert ids(await world.search(media_id=media)) == []
    assert ids(await world.search(media_id=media, filters={"category": CANARY_CATEGORY})) == ["canary"]


async def test_k_limits_the_answer_and_near_duplicates_do_not_use_it_up(world):
    query = picture(1)
    for n in range(12):  # one picture many times over, slightly changed
        world.index(f"copy-{n:02}", picture(100 + n), vector=near(vector_of(query), 0.95), phash="0" * 16)
    for n in range(4):
        world.index(f"other-{n}", picture(200 + n), vector=near(vector_of(query), 0.8, n + 1), phash=f"{n + 1:x}" * 16)
    answer = await world.search(media_id=await world.store(query), k=3)
    assert len(answer["results"]) == 3
    assert sum(item.startswith("copy") for item in ids(answer)) == 1


async def test_hiding_and_deleting_take_an_item_out_of_answers(world):
    query = picture(1)
    media = await world.store(query)
    entry = world.index("item", picture(2), vector=near(vector_of(query), 0.9))
    assert ids(await world.search(media_id=media)) == ["item"]
    world.index("item", picture(2), vector=near(vector_of(query), 0.9), state="hidden")
    assert ids(await world.search(media_id=media)) == []
    world.index("item", picture(2), vector=near(vector_of(query), 0.9))
    assert ids(await world.search(media_id=media)) == ["item"]
    world.log.delete("item", type(entry.version)(10**9, 0))
    world.until(lambda: world.deps.index.current.get("item") is None)
    assert ids(await world.search(media_id=media)) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"media_id": "a" * 64, "item_id": "x"}, "body"),
        ({"media_id": "../../etc/passwd"}, "media_id"),
        ({"media_id": "a" * 64, "k": 0}, "k"),
        ({"media_id": "a" * 64, "k": "many"}, "k"),
        ({"media_id": "a" * 64, "crop": [0, 0, 0, 1]}, "body"),
        ({"media_id": "a" * 64, "crop": [0.5, 0.5, 0.6, 0.5]}, "body"),
        ({"media_id": "a" * 64, "crop": [0, 0, 1]}, "crop.3"),
        ({"media_id": "a" * 64, "crop": [0, -0.1, 1, 1]}, "crop.1"),
        ({"media_id": "a" * 64, "min_score": 2}, "min_score"),
        ({"media_id": "a" * 64, "filters": {"region": "Germany"}}, "filters.region"),
        ({"media_id": "a" * 64, "filters": {"color": "red"}}, "filters.color"),
        ({"media_id": "a" * 64, "surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_field_is_named(world, body, field):
    answer = await world.client.post("/v1/search/images", json=body)
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"media_id": NaN}', b'{"min_score": NaN}', b"[" * 60_000, b"1" * 5_000],
)
async def test_a_body_that_is_no_search_is_a_bad_request(world, body):
    answer = await world.client.post("/v1/search/images", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_score_that_is_no_number_is_refused(world):
    body = b'{"media_id": "' + b"a" * 64 + b'", "min_score": NaN}'
    answer = await world.client.post("/v1/search/images", content=body)
    assert answer.json()["errors"][0]["field"] == "min_score"


async def test_k_over_the_limit_is_refused(make_world):
    world = make_world(Shape(search=SearchSettings(max_k=10, default_k=5)))
    answer = await world.client.post("/v1/search/images", json={"media_id": "a" * 64, "k": 11})
    assert answer.status_code == 400
    assert "at most 10" in answer.json()["detail"]


async def test_unknown_media_is_not_found(world):
    answer = await world.client.post("/v1/search/images", json={"media_id": "a" * 64})
    assert (answer.status_code, answer.json()["code"]) == (404, "missing-media")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (EncodeFailure("undecodable-media", "broken", transient=False), 400, "undecodable-media"),
        (EncodeFailure("unsupported-media", "svg", transient=False), 415, "unsupported-media"),
        (EncodeFailure("too-large", "40 Mpx at most", transient=False), 413, "too-large"),
        (EncodeFailure("timeout", "busy", transient=True), 503, "unavailable"),
        (Unavailable("the encoder is not there", retry_after_s=2), 503, "unavailable"),
    ],
)
async def test_what_the_encoder_says_is_passed_on(world, failure, status, code):
    world.embedding.failure = failure
    answer = await world.client.post("/v1/search/images", files={"file": ("q.png", picture())})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_vectors_of_another_model_are_not_compared(world):
    world.embedding.model_version = "visual-search/other"
    answer = await world.client.post("/v1/search/images", files={"file": ("q.png", picture())})
    assert answer.status_code == 503
    assert "index rebuild" in answer.json()["detail"]


async def test_many_searches_at_once_all_get_their_own_answer(world):
    queries = [picture(n) for n in range(10)]
    for n, query in enumerate(queries):
        world.index(f"near-{n}", picture(100 + n), vector=near(vector_of(query), 0.99), category=f"c{n}")
    stored = [await world.store(query) for query in queries]
    answers = await asyncio.gather(
        *(world.search(media_id=media, filters={"category": f"c{n}"}) for n, media in enumerate(stored))
    )
    assert [ids(answer) for answer in answers] == [[f"near-{n}"] for n in range(10)]
    assert len({answer["trace_id"] for answer in answers}) == 10


@pytest.mark.parametrize("write", ["hidden", "removed"])
async def test_what_is_written_between_the_search_and_the_answer_is_not_in_it(world, monkeypatch, write):
    query = picture(1)
    media = await world.store(query)
    world.index("stays", picture(2), vector=near(vector_of(query), 0.9))
    entry = world.index("goes", picture(3), vector=near(vector_of(query), 0.95, seed=1))
    index = world.deps.index.current
    search = index.search

    def search_then_write(*arguments, **options):
        hits = search(*arguments, **options)
        later = Version(entry.version.time_us + 1, 0)
        if write == "hidden":
            assert index.apply(msgspec.structs.replace(entry, version=later, state="hidden"))
        else:
            assert index.remove("goes", later)
        return hits

    monkeypatch.setattr(index, "search", search_then_write)
    assert ids(await world.search(media_id=media)) == ["stays"]


async def test_nothing_is_looked_up_again_when_nothing_was_written_meanwhile(world, monkeypatch):
    query = picture(1)
    media = await world.store(query)
    world.index("near", picture(2), vector=near(vector_of(query), 0.9))
    looked_up = []
    monkeypatch.setattr(world.deps.index.current, "get", looked_up.append)
    assert ids(await world.search(media_id=media)) == ["near"]
    assert looked_up == []

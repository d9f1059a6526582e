import asyncio
import time

import pytest

from core.settings import RecommendationSettings
from tests.unit.serving.gateway.conftest import Shape, picture
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation import trained_world as trained

PLAIN = RecommendationSettings(temperature=0, exploration_share=0, small_creator_share=0, diversity=0)


@pytest.fixture
def plain(make_world):
    return make_world(Shape(recommendation=PLAIN))


def stock(world, n, **fields):
    videos = [f"v{one}" for one in range(n)]
    made = [ev.created(one, 0, title=f"title of {one}", owner_id=f"by-{one}", **fields) for one in videos]
    world.tell("uploads", *made)


async def ask(world, user="somebody", **parameters):
    answer = await world.client.get(f"/v1/recommendations/{user}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer):
    return [one["item_id"] for one in answer["results"]]


async def test_a_homepage_holds_videos_with_reasons(plain):
    stock(plain, 30, category="animals", language="en")
    answer = await ask(plain, k=5)
    assert len(answer["results"]) == 5
    assert (answer["known"], answer["degraded"], answer["scored_by"], answer["note"]) == (False, [], "blend/1", None)
    [first, *_] = answer["results"]
    assert first["title"].startswith("title of") and first["category"] == "animals" and first["language"] == "en"
    assert first["because"] and "fresh" in first["generators"]
    assert answer.get("explain") is None


async def test_an_empty_platform_gives_an_empty_homepage_that_says_so(plain):
    answer = await ask(plain)
    assert (answer["results"], answer["note"]) == ([], "there are no videos yet")


async def test_images_are_not_recommended(plain):
    plain.tell("uploads", ev.created("picture", kind="image"), ev.created("film"))
    assert ids(await ask(plain)) == ["film"]


async def test_what_was_seen_or_taken_down_is_gone_from_the_next_answer(plain):
    stock(plain, 4)
    plain.tell("interactions", ev.did("Click", "somebody", "v0", 100))
    plain.tell("uploads", ev.hidden("v1", 100), ev.deleted("v2", 100))
    assert ids(await ask(plain)) == ["v3"]
    assert set(ids(await ask(plain, "another"))) == {"v0", "v3"}


async def test_the_country_of_the_request_decides_what_is_blocked(plain):
    stock(plain, 2)
    plain.tell("uploads", ev.changed("v0", 100, blocked_regions=["DE"]))
    assert ids(await ask(plain, country="DE")) == ["v1"]
    assert len(ids(await ask(plain, country="ZZ"))) == 2


async def test_explain_lists_every_candidate_and_what_became_of_it(plain):
    stock(plain, 6)
    answer = await ask(plain, k=2, explain="1")
    candidates = answer["explain"]["candidates"]
    assert [one["position"] for one in candidates] == [0, 1, None, None, None, None]
    assert {one["reason"] for one in candidates[2:]} == {"beyond-k"}
    assert {"viewer", "candidates", "score", "rerank"} <= answer["explain"]["stages_ms"].keys()
    assert all(one["objectives"] and one["generators"] for one in candidates)


async def test_the_trace_explains_the_answer_and_why_something_is_not_in_it(plain):
    stock(plain, 6)
    answer = await ask(plain, k=2)
    shown, hidden = ids(answer)[0], next(f"v{one}" for one in range(6) if f"v{one}" not in ids(answer))
    trace = (await plain.client.get(f"/v1/traces/{answer['trace_id']}", params={"item_id": shown})).json()
    assert (trace["kind"], trace["why"]["reason"], trace["why"]["position"]) == ("recommendation", "answered", 0)
    assert trace["payload"]["rules"]["k"] == 2
    why = {}
    for item_id in (hidden, "nothing"):
        found = await plain.client.get(f"/v1/traces/{answer['trace_id']}", params={"item_id": item_id})
        why[item_id] = found.json()["why"]["reason"]
    assert why == {hidden: "beyond-k", "nothing": "unknown"}


async def test_why_not_answers_for_any_video(plain):
    stock(plain, 3)
    plain.tell("interactions", ev.did("Impression", "somebody", "v1", 100))
    found = (await plain.client.get("/v1/recommendations/somebody/why-not/v1")).json()
    assert (found["in_answer"], found["reason"], found["detail"]) == (False, "seen", "the viewer has seen it")
    there = (await plain.client.get("/v1/recommendations/somebody/why-not/v2")).json()
    assert (there["in_answer"], there["reason"]) == (True, "answered")
    nothing = await plain.client.get("/v1/recommendations/somebody/why-not/nothing")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"k": 0}, "query.k"),
        ({"k": -5}, "query.k"),
        ({"k": "many"}, "query.k"),
        ({"country": "Germany"}, "query.country"),
        ({"country": "de"}, "query.country"),
        ({"language": "x" * 36}, "query.language"),
        ({"device": "x" * 65}, "query.device"),
        ({"explain": "perhaps"}, "query.explain"),
    ],
)
async def test_a_wrong_parameter_is_named(plain, parameters, field):
    answer = await plain.client.get("/v1/recommendations/somebody", params=parameters)
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("user", ["x" * 129, "a%00b", "a%0Ab"])
async def test_a_user_id_that_cannot_be_one_is_refused(plain, user):
    assert (await plain.client.get(f"/v1/recommendations/{user}")).status_code == 400


async def test_an_absurd_k_is_refused(plain):
    answer = await plain.client.get("/v1/recommendations/somebody", params={"k": 10**9})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")
    assert "at most 200" in answer.json()["detail"]


async def test_where_it_is_switched_off_there_are_no_recommendations(make_world):
    world = make_world(Shape(recommendation=None))
    for path in ("/v1/recommendations/somebody", "/v1/recommendations/somebody/why-not/v1", "/v1/recommender"):
        answer = await world.client.get(path)
        assert answer.status_code == 404
        assert "recommendation.enabled" in answer.json()["detail"]
    assert (await world.client.get("/readyz")).status_code == 200


async def test_search_is_ready_while_the_recommender_still_reads(world):
    world.deps.recommendation.follower.ready = lambda: (False, "still reading")
    world.deps.recommendation.recommender._ready = world.deps.recommendation.follower.ready
    assert (await world.client.get("/readyz")).status_code == 200
    answer = await world.client.get("/v1/recommendations/somebody")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    state = (await world.client.get("/v1/recommender")).json()
    assert state["ready"] is False


async def test_the_recommender_tells_what_it_knows_and_how_its_promises_stand(plain):
    stock(plain, 3)
    plain.tell("interactions", ev.did("Impression", "somebody", "v1", 100))
    state = (await plain.client.get("/v1/recommender")).json()
    assert (state["ready"], state["log"]["videos"], state["log"]["users"]) == (True, 3, 1)
    assert state["promises"]["impressions"] == 100


async def test_many_at_once_each_get_their_own_answer(plain):
    stock(plain, 40)
    plain.tell("interactions", *(ev.did("Hide", f"u{one}", f"v{one}", 100) for one in range(12)))
    started = time.perf_counter()
    answers = await asyncio.gather(*(ask(plain, f"u{one}", k=39) for one in range(12)))
    assert time.perf_counter() - started < 20
    for one, answer in enumerate(answers):
        assert set(ids(answer)) == {f"v{other}" for other in range(40)} - {f"v{one}"}
    assert len({answer["trace_id"] for answer in answers}) == 12


async def test_the_homepage_of_the_console_loads_nothing_from_elsewhere(world):
    page = await world.client.get("/console/homepage")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert 'src="/console/homepage.js"' in page.text and 'max="200"' in page.text
    for name in ("homepage.js", "page.js"):
        assert (await world.client.get(f"/console/{name}")).status_code == 200


async def test_an_image_search_is_still_explained_by_its_own_rules(world):
    data = picture(1)
    media = await world.store(data)
    world.index("near", data)
    answer = await world.search(media_id=media, include_query=True)
    trace = (await world.client.get(f"/v1/traces/{answer['trace_id']}", params={"item_id": "near"})).json()
    assert (trace["kind"], trace["why"]["reason"]) == ("visual_search", "answered")


async def test_a_promoted_model_answers_and_the_answer_says_so(make_world, tmp_path):
    """A registered system over the live state: who scored, by which aims, and which generators."""
    registry = trained.registry_in(tmp_path)
    label = trained.register(registry, tmp_path / "model")
    settings = PLAIN.model_copy(update={"generator_deadline_s": 5.0, "ranker_deadline_s": 5.0})
    world = make_world(Shape(recommendation=settings, registry=registry))
    ids_there = [*trained.feedback().items, "a-new-one"]
    world.tell("uploads", *(ev.created(one, 0, title=f"about {one}", owner_id=f"by-{one}") for one in ids_there))
    world.tell("interactions", *(ev.did("Like", "somebody", f"i{number}", 100 + number) for number in (0, 2, 4)))
    world.until(lambda: world.deps.recommendation.model.ready()[0])

    answer = await ask(world, k=5, explain=True)
    assert (answer["scored_by"], answer["degraded"]) == (label, [])
    assert {"i0", "i2", "i4"}.isdisjoint(ids(answer))
    even = [one for one in ids(answer) if one[0] == "i" and int(one[1:]) % 2 == 0]
    assert len(even) >= 4  # who liked even ones is shown even ones
    [first, *_] = answer["explain"]["candidates"]
    assert {"pick", "click", "watch", "like"} <= set(first["objectives"])
    assert "ease" in first["generators"]
    [new] = [one for one in answer["explain"]["candidates"] if one["item_id"] == "a-new-one"]
    assert "blend" in new["objectives"] and "pick" not in new["objectives"]

    state = (await world.client.get("/v1/recommender")).json()
    assert (state["model"]["version"], state["model"]["problem"]) == (label, None)
    assert state["model"]["items"] == len(trained.feedback().items)
    trace = (await world.client.get(f"/v1/traces/{answer['trace_id']}")).json()
    assert label in str(trace)


async def test_without_a_model_the_state_says_why(make_world, tmp_path):
    world = make_world(Shape(recommendation=PLAIN, registry=trained.registry_in(tmp_path)))
    world.until(lambda: world.deps.recommendation.model.ready()[0])
    model = (await world.client.get("/v1/recommender")).json()["model"]
    assert model["version"] is None and "no model 'recommendation-quick-system' is registered" in model["problem"]

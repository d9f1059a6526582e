"""Verdicts at the gateway: from the moment they are applied, what was taken down is in nothing that is answered."""

import pytest

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.errors import Unavailable
from core.settings import CatalogueSettings, RecommendationSettings, SearchSettings
from monitoring.catalogue import SEARCH_REMOVED
from monitoring.recorder import Recorder
from serving import visual_search
from serving.access import Door
from serving.exchange import Exchange
from serving.recommendation.opening import open_recommender
from serving.recommendation.recommend import RecommendQuery
from serving.recommendation.topic_log import STREAMS
from serving.restrictions.follower import RestrictionsFollower
from serving.restrictions.served import Restrictions
from serving.traces import TraceStore
from storage.catalogue import Catalogue
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.core.access.token_factory import TokenFactory
from tests.unit.serving.gateway.conftest import Shape, World, picture, vector_of
from tests.unit.serving.gateway.test_search import ids, near
from tests.unit.serving.gateway.test_traces import item, trace_of
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.restrictions.verdicts import verdict

PLAIN = RecommendationSettings(temperature=0, exploration_share=0, small_creator_share=0, diversity=0)


def against(*items: str, state: str = "enforced", version: int = 1, **fields):
    """Return a verdict about the owner's post that shows some items."""
    return verdict("post", state, version, **{"author_id": "owner", "item_ids": list(items), **fields})


async def searched(world, **body):
    return await world.client.post("/v1/search/images", json=body)


async def test_what_is_taken_down_is_in_no_answer_that_starts_afterwards_and_comes_back_when_it_is_cleared(world):
    media = await world.store(query := picture(1))
    world.index("stays", picture(2), vector=near(vector_of(query), 0.9))
    world.index("goes", picture(3), vector=near(vector_of(query), 0.95, seed=1))
    assert ids(await world.search(media_id=media)) == ["goes", "stays"]
    world.judge(against("goes"))
    assert ids(await world.search(media_id=media)) == ["stays"]
    assert world.deps.recorder.value(SEARCH_REMOVED, system="visual_search", reason="enforced") == 1
    world.judge(against("goes", state="clear", version=2))
    assert ids(await world.search(media_id=media)) == ["goes", "stays"]


async def test_a_verdict_that_comes_while_a_search_runs_counts_for_it(world, monkeypatch):
    media = await world.store(query := picture(1))
    world.index("goes", picture(3), vector=near(vector_of(query), 0.95, seed=1))
    index = world.deps.index.current
    search = index.search

    def search_then_judge(*arguments, **options):
        hits = search(*arguments, **options)
        world.judge(against("goes"))
        return hits

    monkeypatch.setattr(index, "search", search_then_judge)
    assert ids(await world.search(media_id=media)) == []


@pytest.mark.parametrize("taken_down", [19, 20, 60, 300])
async def test_a_campaign_near_the_query_leaves_no_answer_short(world, monkeypatch, taken_down):
    monkeypatch.setattr(visual_search, "_MAX_CANDIDATES", 20)
    media = await world.store(query := picture(1))
    for n in range(taken_down):
        world.index(f"spam-{n}", picture(3), vector=near(vector_of(query), 0.95, seed=n), media_id=f"{n:064x}")
    for n, similarity in enumerate((0.6, 0.5)):
        world.index(f"stays-{n}", picture(4 + n), vector=near(vector_of(query), similarity, seed=1_000 + n))
    spam = [f"spam-{n}" for n in range(taken_down)]
    pages = [spam[start : start + 100] for start in range(0, taken_down, 100)]
    world.judge(*(verdict(f"post-{n}", "enforced", author_id="owner", item_ids=page) for n, page in enumerate(pages)))
    answer = await world.search(media_id=media, k=2, min_score=0.1)
    assert ids(answer) == ["stays-0", "stays-1"]


async def test_what_is_up_is_not_searched_deeper_than_is_affordable(world, monkeypatch):
    monkeypatch.setattr(visual_search, "_MAX_CANDIDATES", 20)
    media = await world.store(query := picture(1))
    for n in range(60):  # one picture many times over
        world.index(f"same-{n}", picture(3), vector=near(vector_of(query), 0.95, seed=n), phash="0" * 16)
    fetched = []
    search = world.deps.index.current.search

    def searched(vector, k, *arguments, **options):
        fetched.append(k)
        return search(vector, k, *arguments, **options)

    monkeypatch.setattr(world.deps.index.current, "search", searched)
    await world.search(media_id=media, k=5, min_score=0.1)
    assert max(fetched) <= 20


async def test_a_verdict_about_an_item_that_is_not_indexed_yet_counts_when_it_is(world):
    media = await world.store(query := picture(1))
    world.judge(against("goes"))
    world.index("goes", picture(3), vector=near(vector_of(query), 0.95))
    assert ids(await world.search(media_id=media)) == []


async def test_nobody_takes_down_what_is_somebody_elses(world):
    media = await world.store(query := picture(1))
    world.index("stays", picture(2), vector=near(vector_of(query), 0.9), owner_id="another")
    world.judge(against("stays"))
    assert ids(await world.search(media_id=media)) == ["stays"]


async def test_what_is_demoted_comes_later_with_its_lowered_score(world):
    media = await world.store(query := picture(1))
    world.index("late", picture(3), vector=near(vector_of(query), 0.95, seed=1))
    world.index("soon", picture(2), vector=near(vector_of(query), 0.6))
    world.judge(against("late", state="demoted", factor=0.5))
    answer = await world.search(media_id=media)
    assert ids(answer) == ["soon", "late"]
    assert answer["results"][1]["score"] == pytest.approx(0.475, abs=0.01)


async def test_answers_are_as_long_as_asked_although_the_nearest_are_all_taken_down(world):
    query = picture(1)
    media = await world.store(query)
    for number in range(60):
        world.index(f"near-{number}", picture(100 + number), vector=near(vector_of(query), 0.99, seed=number))
    for number in range(10):
        world.index(f"next-{number}", picture(300 + number), vector=near(vector_of(query), 0.8, seed=200 + number))
    world.judge(against(*(f"near-{number}" for number in range(60))))
    answer = await world.search(media_id=media, k=5)
    assert len(ids(answer)) == 5
    assert all(one.startswith("next-") for one in ids(answer))


async def test_what_was_not_fetched_is_looked_for_where_all_that_was_is_demoted_below_it(world):
    query = picture(1)
    media = await world.store(query)
    for number in range(60):
        world.index(f"near-{number}", picture(100 + number), vector=near(vector_of(query), 0.99, seed=number))
    for number in range(10):
        world.index(f"next-{number}", picture(300 + number), vector=near(vector_of(query), 0.8, seed=200 + number))
    world.judge(against(*(f"near-{number}" for number in range(60)), state="demoted", factor=0.5))
    assert all(one.startswith("next-") for one in ids(await world.search(media_id=media, k=5)))


async def test_the_trace_says_which_decision_took_it_out_and_the_answer_does_not(world):
    media = await world.store(query := picture(1))
    world.index("goes", picture(3), vector=near(vector_of(query), 0.95, seed=1))
    world.index("late", picture(2), vector=near(vector_of(query), 0.9))
    world.judge(
        against("goes", decision_id="decision-1"),
        verdict("other", "demoted", author_id="owner", item_ids=["late"], factor=0.5, harm="spam", decision_id="d-2"),
    )
    answer = await world.search(media_id=media, explain=True)
    [gone] = [one for one in answer["explain"]["candidates"] if one["item_id"] == "goes"]
    assert gone["reason"] == "enforced"
    assert "decision-1" not in str(answer) and "violence" not in str(answer)
    world.judge(against("goes", state="clear", version=2))  # what held when the answer was made is told all the same
    why = (await trace_of(world, answer, item_id="goes"))["why"]
    assert (why["reason"], why["harm"], why["decision_id"]) == ("enforced", "violence", "decision-1")
    assert why["detail"] == (
        "it was taken down; a post that shows it was taken down for violence (decision decision-1)"
    )
    late = await trace_of(world, answer, item_id="late")
    assert (late["why"]["reason"], late["why"]["decision_id"]) == ("answered", "d-2")
    assert "counts 0.5 of what it would" in late["why"]["detail"]
    assert late["payload"]["restricted"]["late"]["factor"] == 0.5


async def test_an_item_that_was_no_candidate_is_explained_by_what_holds_now(make_world):
    world = make_world(Shape(search=SearchSettings(overfetch=1.0)))
    media = await world.store(query := picture(1))
    world.index("best", picture(2), vector=near(vector_of(query), 0.9))
    answer = await world.search(media_id=media, k=1)
    world.index("gone", picture(4), vector=near(vector_of(query), 0.5, seed=3))
    world.index("low", picture(5), vector=near(vector_of(query), 0.6, seed=4))
    world.judge(against("gone"), verdict("q", "demoted", author_id="owner", item_ids=["low"], factor=0.5))
    gone = (await trace_of(world, answer, item_id="gone"))["why"]
    assert (gone["reason"], gone["harm"]) == ("enforced", "violence")
    low = (await trace_of(world, answer, item_id="low"))["why"]
    assert (low["reason"], low["decision_id"]) == ("beyond-k", "decision-q-1")


async def test_a_picture_that_was_taken_down_is_no_thumbnail_and_no_query(world):
    data = picture(7)
    media = await world.store(data)
    world.index("goes", data)
    world.index("near", picture(8), vector=near(vector_of(data), 0.9))
    assert (await world.client.get(f"/v1/media/{media}")).status_code == 200
    world.judge(against("goes"))
    assert (await world.client.get(f"/v1/media/{media}")).status_code == 404
    for query in ({"media_id": media}, {"item_id": "goes"}, {"media_id": media, "crop": [0, 0, 0.5, 0.5]}):
        answer = await searched(world, **query)
        assert answer.status_code == 404, query
        assert "decision" not in answer.text and "violence" not in answer.text
    assert world.embedding.calls == 0
    world.judge(against("goes", state="clear", version=2))
    assert (await world.client.get(f"/v1/media/{media}")).status_code == 200
    assert ids(await world.search(media_id=media)) == ["near"]


async def test_the_same_picture_of_somebody_who_may_show_it_stays(world):
    data = picture(7)
    media = await world.store(data)
    world.index("theirs", data, owner_id="another")
    world.index("goes", data)  # later, and so the one that would be taken
    world.index("near", picture(8), vector=near(vector_of(data), 0.9))
    world.judge(against("goes"))
    assert (await world.client.get(f"/v1/media/{media}")).status_code == 200
    assert ids(await world.search(media_id=media)) == ["near"]
    assert ids(await world.search(media_id=media, include_query=True)) == ["theirs", "near"]


async def test_the_console_does_not_list_what_was_taken_down(world):
    world.index("stays", picture(1), title="a harmless title")
    world.index("goes", picture(2), title="a harmful title")
    assert "a harmful title" in (await world.client.get("/console")).text
    world.judge(against("goes"))
    page = (await world.client.get("/console")).text
    assert "a harmful title" not in page and "a harmless title" in page


async def test_a_homepage_obeys_verdicts_and_says_so_to_who_asks(make_world):
    world = make_world(Shape(recommendation=PLAIN))
    world.tell("uploads", *(ev.created(f"v{one}", 0, title=f"title of {one}", owner_id="owner") for one in range(3)))
    world.judge(against("v0", decision_id="d-7"))
    answer = (await world.client.get("/v1/recommendations/somebody", params={"explain": "1"})).json()
    assert set(ids(answer)) == {"v1", "v2"}
    assert "d-7" not in str(answer)
    why = (await world.client.get("/v1/recommendations/somebody/why-not/v0")).json()
    assert (why["reason"], why["harm"], why["decision_id"]) == ("enforced", "violence", "d-7")
    trace = (await trace_of(world, answer, item_id="v0"))["why"]
    assert (trace["reason"], trace["decision_id"]) == ("enforced", "d-7")
    world.judge(against("v0", state="clear", version=2))
    answer = (await world.client.get("/v1/recommendations/somebody")).json()
    assert set(ids(answer)) == {"v0", "v1", "v2"}


async def test_an_item_says_what_restricts_it(world):
    world.deps.catalogue.apply_items("test", [("evt", item("one")), ("evt-2", item("two"))])
    world.judge(against("one", state="demoted", factor=0.25, decision_id="d-1"))
    found = (await world.client.get("/v1/items/one")).json()["restriction"]
    assert found == {
        "state": "demoted", "factor": 0.25, "harm": "violence", "decision_id": "d-1", "post_id": "post",
    }  # fmt: skip
    assert (await world.client.get("/v1/items/two")).json()["restriction"] is None


async def test_operators_see_what_is_restricted_and_how_far_the_log_was_read(world):
    world.judge(
        against("a", "b"),
        verdict("p2", "demoted", author_id="x", item_ids=["c"], factor=0.5, harm="spam"),
        verdict("p3", "demoted", author_id="x", item_ids=[], factor=0.5, harm=None),
    )
    said = (await world.client.get("/v1/restrictions")).json()
    assert said["ready"]
    assert said["posts"] == {"enforced": {"violence": 1}, "demoted": {"spam": 1, "none": 1}}
    assert said["items"] == {"enforced": 2, "demoted": 1}
    assert sum(said["log"]["positions"].values()) == 3
    assert (said["log"]["caught_up"], said["log"]["problem"], said["log"]["rebuilds"]) == (True, "", 0)


async def test_readers_do_not_see_what_is_restricted(make_world, tmp_path):
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    world = make_world(Shape(auth=factory.settings, door=door))
    for role, status in ((Role.reader, 403), (Role.reviewer, 200), (Role.admin, 200), (Role.producer, 403)):
        headers = {"authorization": f"Bearer {factory.right(role)}"}
        assert (await world.client.get("/v1/restrictions", headers=headers)).status_code == status


async def test_before_all_verdicts_are_known_nothing_is_shown_that_might_be_restricted(make_world, monkeypatch):
    world = make_world(Shape(recommendation=PLAIN))
    data = picture(7)
    media = await world.store(data)
    world.index("goes", data, title="a title")
    world.tell("uploads", ev.created("v", 0, owner_id="owner"))
    unknown = (False, "the list of restrictions has not read the log to its end yet")
    monkeypatch.setattr(world.deps.restrictions, "ready", lambda: unknown)
    ready = await world.client.get("/readyz")
    assert ready.status_code == 503 and "list of restrictions" in ready.json()["detail"]
    assert (await searched(world, media_id=media)).status_code == 503
    assert (await world.client.get(f"/v1/media/{media}")).status_code == 503
    assert "a title" not in (await world.client.get("/console")).text
    assert (await world.client.get("/v1/restrictions")).json()["ready"] is False


async def test_a_recommender_waits_for_the_verdicts(tmp_path):
    restrictions, recorder, clock = Restrictions(), Recorder(), SystemClock()
    RestrictionsFollower(served=restrictions, log=MemoryEntryLog(), recorder=recorder, clock=clock)  # never started
    running = open_recommender(
        PLAIN,
        {stream: MemoryEntryLog() for stream in STREAMS},
        folder=tmp_path / "recommendation",
        traces=TraceStore(Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())),
        recorder=recorder,
        clock=clock,
        at_once=1,
        restrictions=restrictions,
    )
    running.start()
    World.until(lambda: running.follower.ready()[0])
    with pytest.raises(Unavailable, match="list of restrictions"):
        await running.recommender.recommend(RecommendQuery("somebody"), Exchange())
    running.close()

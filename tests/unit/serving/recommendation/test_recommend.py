"""The recommender over a real live state: what is in an answer, and what it says about itself."""

import threading
import time

import numpy as np
import pytest

from core.errors import InvalidInput, NotFound, Unavailable
from monitoring.catalogue import EXPLORATION_PROMISES, RECOMMENDATION_REMOVED, RECOMMENDATIONS
from serving.recommendation.scoring import BLEND
from serving.recommendation.why import explain
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.answering_world import MONTH_S, Fixed


async def test_somebody_nobody_knows_gets_an_answer(answering):
    answering.stock(30)
    answer = await answering.ask("a-stranger")
    assert len(answer.results) == 24
    assert not answer.viewer.known
    assert (answer.scored_by, answer.degraded, answer.note) == (BLEND, (), None)
    assert all(one.because for one in answer.results)


async def test_a_trace_tells_how_long_each_stage_took(answering):
    answering.stock(30)
    answer = await answering.ask()
    stages_ms = answering.traces.get(answer.trace_id).payload["stages_ms"]
    assert sorted(stages_ms) == ["candidates", "rerank", "score", "viewer"]
    assert all(taken >= 0 for taken in stages_ms.values())


async def test_an_empty_catalogue_gives_an_empty_answer_that_says_so(answering):
    answer = await answering.ask()
    assert answer.results == []
    assert answer.note == "there are no videos yet"
    assert answering.traces.get(answer.trace_id) is not None


async def test_k_is_how_many_there_are_and_too_many_are_refused(make_answering):
    answering = make_answering(max_k=20, default_k=3)
    answering.stock(10)
    assert len(await answering.ids()) == 3
    assert len(await answering.ids(k=1)) == 1
    short = await answering.ask(k=20)
    assert (len(short.results), short.note) == (10, "only 10 videos are left to recommend")
    with pytest.raises(InvalidInput, match="at most 20"):
        await answering.ids(k=21)


@pytest.mark.parametrize("kind", ["Impression", "Click", "Like", "Dislike", "Hide", "Report", "Share", "Save"])
async def test_what_was_seen_in_whatever_way_never_comes_again(answering, kind):
    answering.stock(5)
    answering.apply(ev.did(kind, "viewer", "v3", 100))
    assert "v3" not in await answering.ids("viewer")
    assert "v3" in await answering.ids("another")


async def test_whoever_has_seen_everything_gets_nothing_and_is_told(answering):
    answering.stock(3)
    answering.apply(*(ev.watched("viewer", f"v{number}", 100) for number in range(3)))
    answer = await answering.ask("viewer")
    assert answer.results == []
    assert "nothing is left" in answer.note


async def test_what_is_taken_down_is_gone_and_what_is_put_back_is_there(answering):
    answering.stock(5)
    answering.apply(ev.hidden("v1", 100), ev.deleted("v2", 100), ev.changed("v3", 100, visibility="private"))
    assert set(await answering.ids()) == {"v0", "v4"}
    answering.apply(ev.hidden("v1", 200, hidden=False))
    assert set(await answering.ids()) == {"v0", "v1", "v4"}


async def test_what_is_blocked_where_the_viewer_is_is_not_shown_there(answering):
    answering.stock(3)
    answering.apply(ev.changed("v1", 100, blocked_regions=["DE"]), ev.profile("german", country="DE"))
    assert set(await answering.ids(country="DE")) == {"v0", "v2"}
    assert set(await answering.ids("german")) == {"v0", "v2"}
    assert set(await answering.ids("german", country="FR")) == {"v0", "v1", "v2"}  # on a journey
    assert set(await answering.ids(country="XX")) == {"v0", "v1", "v2"}


async def test_what_a_verdict_takes_down_or_demotes_far_is_not_recommended(answering):
    answering.stock(3)
    answering.judge("v1", "demoted", factor=0.1)
    answering.judge("v2")
    assert await answering.ids() == ["v0"]
    assert answering.recorder.value(RECOMMENDATION_REMOVED, reason="demoted") == 1
    answering.judge("v2", "clear", version=2)
    assert set(await answering.ids()) == {"v0", "v2"}


async def test_what_is_demoted_comes_later(make_answering):
    answering = make_answering(generators=[Fixed("few", [0, 1, 2, 3])], freshness_weight=0.0)
    answering.stock(4)
    assert await answering.ids() == ["v0", "v1", "v2", "v3"]
    answering.judge("v0", "demoted", factor=0.5)
    answer = await answering.ask()
    assert [one.item_id for one in answer.results] == ["v1", "v2", "v3", "v0"]
    shown = answer.verdicts()[-1]
    assert shown.objectives["factor"] == 0.5 and shown.score == pytest.approx(shown.objectives["blend"] / 2, abs=1e-4)


async def test_a_verdict_about_a_video_that_is_not_there_yet_counts_when_it_comes(answering):
    answering.stock(2)
    answering.judge("later", author_id="somebody")
    assert len(await answering.ids()) == 2
    answering.apply(ev.created("later", 50, owner_id="somebody"), ev.created("other", 50, owner_id="somebody"))
    assert set(await answering.ids()) == {"v0", "v1", "other"}


async def test_a_verdict_takes_down_no_video_of_somebody_else_until_it_is_theirs(answering):
    answering.stock(2)
    answering.judge("v1", author_id="thief")
    assert set(await answering.ids()) == {"v0", "v1"}
    answering.apply(ev.created("v1", 60, owner_id="thief"))
    assert await answering.ids() == ["v0"]


async def test_an_answer_is_not_short_because_much_of_what_is_popular_is_taken_down(make_answering):
    answering = make_answering(per_generator=10)
    answering.stock(200)
    for number in range(60):
        answering.apply(*(ev.did("Click", f"u{one}", f"v{number}", 300) for one in range(3)))
        answering.judge(f"v{number}")
    shown = await answering.ids("viewer", k=10)
    assert len(shown) == 10
    assert not set(shown) & {f"v{number}" for number in range(60)}


async def test_a_demoted_video_has_no_place_kept_for_it(make_answering):
    answering = make_answering(exploration_share=0.5, small_creator_share=0.5)
    answering.stock(20)
    for number in range(20):
        answering.judge(f"v{number}", "demoted", factor=0.5)
    answer = await answering.ask(k=10)
    assert {one.place for one in answer.results} == {"score"}
    assert "exploration" not in {name for one in answer.results for name in one.generators}


async def test_what_is_taken_down_is_owed_no_impressions(answering):
    answering.stock(3)
    answering.judge("v0")
    assert answering.recommender.promises().open == 2


async def test_an_interaction_counts_in_the_next_answer(answering):
    for number in range(40):
        subject = "zebra" if number % 2 else "volcano"
        answering.apply(
            ev.created(f"{subject}{number}", number, title=f"{subject} number{number}", owner_id=f"c{number}")
        )
    before = await answering.ids("viewer", k=10)
    answering.apply(ev.did("Like", "viewer", "zebra1", 100))
    after = await answering.ask("viewer", k=10)
    shown = [one.item_id for one in after.results]
    assert sum(one.startswith("zebra") for one in shown) > sum(one.startswith("zebra") for one in before)
    assert "content" in after.results[0].generators
    assert after.results[0].because.startswith("Like what you liked")


async def test_videos_of_a_followed_creator_say_so(answering):
    answering.stock(10)
    answering.apply(ev.did("Follow", "viewer", "c7", 100))
    [first, *_] = (await answering.ask("viewer")).results
    assert first.item_id == "v7"
    assert first.because.startswith("You follow its creator")


async def test_a_generator_that_is_down_makes_the_answer_degraded_and_not_late(make_answering):
    release = threading.Event()
    answering = make_answering(
        generators=[Fixed("hangs", [0], release.wait), Fixed("sound", [1, 2])], generator_deadline_s=0.05
    )
    answering.stock(3)
    started = time.perf_counter()
    answer = await answering.ask()
    assert time.perf_counter() - started < 2
    release.set()
    assert answer.degraded == ("hangs",)
    assert [one.item_id for one in answer.results] == ["v1", "v2"]
    assert answering.recorder.value(RECOMMENDATIONS, viewer="new", scored_by="blend", degraded="yes") == 1


async def test_when_every_generator_is_down_there_are_still_the_popular_and_the_new(make_answering):
    def fail():
        raise RuntimeError("down")

    answering = make_answering(generators=[Fixed("one", [], fail), Fixed("two", [], fail)])
    answering.stock(5)
    answering.apply(ev.did("Click", "another", "v2", 100), ev.did("Impression", "viewer", "v4", 100))
    answering.judge("v3")
    answer = await answering.ask("viewer")
    assert set(answer.degraded) == {"one", "two"}
    assert {one.item_id for one in answer.results} == {"v0", "v1", "v2"}
    assert answer.results[0].generators == ["last-resort"]


async def test_a_ranker_that_is_down_makes_the_answer_degraded(make_answering):
    class Broken:
        version = "ranker/1"

        def predict(self, viewer, candidates):
            raise MemoryError("no room")

    answering = make_answering(ranker=Broken())
    answering.stock(3)
    answer = await answering.ask()
    assert (answer.degraded, answer.scored_by, len(answer.results)) == (("ranker",), BLEND, 3)


async def test_a_ranker_decides_the_order(make_answering):
    class Backwards:
        version = "ranker/2"

        def predict(self, viewer, candidates):
            return {"watch": (candidates.rows / 10).astype(np.float32)}

    answering = make_answering(ranker=Backwards(), freshness_weight=0.0)
    answering.stock(5)
    answer = await answering.ask()
    assert [one.item_id for one in answer.results] == ["v4", "v3", "v2", "v1", "v0"]
    assert (answer.scored_by, answer.degraded) == ("ranker/2", ())


async def test_a_row_that_does_not_exist_is_not_shown(make_answering):
    answering = make_answering(generators=[Fixed("odd", [0, 10**6, 1])])
    answering.stock(2)
    assert await answering.ids() == ["v0", "v1"]


async def test_before_the_log_is_read_nobody_is_answered_for_they_might_see_again_what_they_saw(answering):
    answering.stock(3)
    answering.is_ready = False
    with pytest.raises(Unavailable, match="still reading"):
        await answering.ids()


async def test_what_is_taken_down_while_an_answer_is_made_is_not_in_it(make_answering):
    """Between the first look at the live state and the last: the ranker runs in between."""

    class Meanwhile:
        version = "ranker/3"

        def predict(self, viewer, candidates):
            answering.apply(ev.deleted("v0", 500), ev.hidden("v1", 500), ev.did("Click", "viewer", "v2", 500))
            answering.apply(ev.changed("v3", 500, blocked_regions=["DE"]))
            answering.judge("v6")
            return {"watch": np.linspace(1, 0, len(candidates.rows), dtype=np.float32)}

    answering = make_answering(ranker=Meanwhile(), generators=[Fixed("all", [6, 0, 1, 2, 3, 4, 5])])
    answering.stock(7)
    answer = await answering.ask("viewer", k=2, country="DE")
    assert [one.item_id for one in answer.results] == ["v4", "v5"]
    fates = {verdict.item_id: verdict.reason for verdict in answer.verdicts()}
    assert (fates["v0"], fates["v1"], fates["v2"], fates["v3"]) == ("deleted", "hidden", "seen", "blocked-region")
    assert fates["v6"] == "enforced"


async def test_a_new_video_gets_the_places_that_are_kept_for_exploration(make_answering):
    answering = make_answering(exploration_share=0.5, promised_impressions=5)
    answering.stock(20)
    for number in range(20):
        answering.apply(*(ev.did("Impression", f"u{one}", f"v{number}", 200) for one in range(5)))
    answering.apply(ev.created("new", 300, title="something else", owner_id="newcomer"))
    answering.clock.time = ev.at(400)
    for user in ("u100", "u101", "u102", "u103"):
        answer = await answering.ask(user, k=6)
        [new] = [one for one in answer.results if one.item_id == "new"]
        if new.place == "exploration":
            assert new.because == "New, and few have seen it yet"
    assert answering.recommender.promises().open == 1
    assert answering.recorder.value(EXPLORATION_PROMISES, state="open") == 1


async def test_an_answer_can_be_made_again_from_the_seed_in_its_trace(make_answering):
    answering = make_answering(temperature=0.5, exploration_share=0.3)
    answering.stock(40)
    answers = [await answering.ids("viewer", k=10) for _ in range(8)]
    assert len({tuple(answer) for answer in answers}) > 1
    first = await answering.ask("viewer", k=10)
    seed = int(answering.traces.get(first.trace_id).payload["seed"])
    assert seed == int(first.trace_id[:16], 16)


# Explanations ------------------------------------------------------------------------------------------------------


async def test_the_trace_tells_who_proposed_each_candidate_what_it_scored_and_what_became_of_it(answering):
    answering.stock(10)
    answering.apply(ev.did("Like", "viewer", "v0", 100))
    answer = await answering.ask("viewer", k=3, device="phone")
    payload = answering.traces.get(answer.trace_id).payload
    assert payload["asked"] == {"k": 3, "device": "phone"}
    assert payload["rules"]["k"] == 3
    shown = [one for one in payload["candidates"] if one["position"] is not None]
    assert [one["item_id"] for one in shown] == [one.item_id for one in answer.results]
    for one in shown:
        assert one["generators"] and one["propensity"] == 1.0 and one["place"] == "score"
        assert {"blend", "dislike", "freshness", "factor"} == set(one["objectives"])
    assert {one["reason"] for one in payload["candidates"][3:]} == {"beyond-k"}
    assert payload["generators"]["fresh"]["proposed"] == 9
    assert "viewer" not in str(payload["asked"]) and "user_id" not in str(payload)  # it does not say whose it is


async def test_the_trace_says_of_every_candidate_what_became_of_it_however_many_there_are(answering):
    answering.stock(300, owner_id="one-creator")
    answer = await answering.ask(k=5)
    trace = answering.traces.get(answer.trace_id)
    assert len(trace.payload["candidates"]) == 55
    videos = answering.state.videos
    others = [item_id for item_ids in trace.payload["others"].values() for item_id in item_ids]
    known = {one["item_id"] for one in trace.payload["candidates"]} | set(others)
    assert len(known) == len(trace.payload["candidates"]) + len(others) >= 250
    for item_id in known:
        why = explain(trace, item_id, videos)
        assert why.in_answer == (why.reason == "answered")
        assert why.reason in ("answered", "beyond-k", "creator-cap")


async def test_a_trace_says_why_a_video_that_was_no_candidate_is_not_in_it(make_answering):
    answering = make_answering(generators=[Fixed("few", [0])])
    answering.stock(3)
    answering.apply(ev.hidden("v1", 50), ev.created("v3", 50))
    answering.judge("v3")
    trace = answering.traces.get((await answering.ask()).trace_id)
    answering.apply(ev.created("later", MONTH_S + 60))
    asked = ("v0", "v1", "v2", "v3", "later", "nothing")
    said = {one: explain(trace, one, answering.state.videos) for one in asked}
    assert {one: why.reason for one, why in said.items()} == {
        "v0": "answered", "v1": "hidden", "v2": "not-proposed", "v3": "enforced",
        "later": "newer", "nothing": "unknown",
    }  # fmt: skip
    assert (said["v3"].harm, said["v3"].decision_id) == ("violence", "decision-v3")


async def test_the_trace_keeps_what_restricted_a_candidate_whatever_is_decided_later(make_answering):
    answering = make_answering(generators=[Fixed("few", [0, 1, 2])])
    answering.stock(3)
    answering.judge("v0")
    answering.judge("v1", "demoted", factor=0.5, harm="hate")
    trace = answering.traces.get((await answering.ask()).trace_id)
    answering.judge("v0", "clear", version=2)
    assert set(trace.payload["restricted"]) == {"v0", "v1"}
    gone, late = (explain(trace, one, answering.state.videos) for one in ("v0", "v1"))
    assert (gone.reason, gone.harm, gone.decision_id) == ("enforced", "violence", "decision-v0")
    assert (late.reason, late.harm, late.decision_id) == ("answered", "hate", "decision-v1")
    assert late.detail.startswith("it is result 2; its score counts 0.5")


async def test_why_not_says_of_any_video_why_it_is_not_in_the_answer(make_answering):
    answering = make_answering(generators=[Fixed("few", [0, 1, 2, 3, 4])], min_factor=0.5, dislike_weight=0.0)
    answering.stock(9)
    answering.apply(
        ev.did("Click", "viewer", "v1", 100),
        ev.hidden("v2", 100),
        ev.changed("v3", 100, blocked_regions=["DE"]),
        ev.did("Hide", "viewer", "v5", 100),
        ev.deleted("v6", 100),
    )
    answering.judge("v4", "demoted", factor=0.9, harm="spam")
    answering.judge("v7", "demoted", factor=0.1)
    answering.judge("v8", harm="self_harm")
    said = {}
    for number in range(9):
        said[number] = await answering.why_not(f"v{number}", "viewer", k=1, country="DE")
    assert {number: reason.reason for number, reason in said.items()} == {
        0: "answered", 1: "seen", 2: "hidden", 3: "blocked-region", 4: "beyond-k", 5: "hidden-by-viewer",
        6: "deleted", 7: "demoted", 8: "enforced",
    }  # fmt: skip
    assert "number 2 by score" in said[4].detail
    assert said[4].detail.endswith(
        "its score counts 0.9 of what it would: a post that shows it is demoted for spam (decision decision-v4)"
    )
    assert (said[8].harm, said[8].decision_id) == ("self_harm", "decision-v8")
    assert said[8].detail == (
        "it was taken down; a post that shows it was taken down for self-harm (decision decision-v8)"
    )
    assert said[1].harm is said[1].decision_id is None
    with pytest.raises(NotFound):
        await answering.why_not("nothing", "viewer")


async def test_why_not_says_where_a_video_would_have_come_that_no_generator_proposed(make_answering):
    answering = make_answering(generators=[Fixed("few", [0, 1])])
    answering.stock(3)
    short = await answering.why_not("v2", k=2)
    assert (short.in_answer, short.reason) == (False, "not-proposed")
    assert "enough better videos" in short.detail
    long = await answering.why_not("v2", k=5)
    assert "would be result 3" in long.detail


async def test_what_re_ranking_leaves_out_is_counted_by_reason(answering):
    answering.stock(10)
    answering.apply(ev.created("copy", 50, title="other words", owner_id="thief", media_id="ab" * 32))
    answering.apply(ev.created("original", 60, title="words", owner_id="maker", media_id="ab" * 32))
    await answering.ids(k=11)
    assert answering.recorder.value(RECOMMENDATION_REMOVED, reason="duplicate") == 1

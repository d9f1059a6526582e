"""Moderation over HTTP, the side of reviewers."""

import asyncio
import json

import pytest

from core import topics
from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.moderation import decode_decision, decode_verdict
from core.settings import ModerationSettings
from serving.access import Door
from storage.moderation import Report
from tests.unit.core.access.token_factory import TokenFactory
from tests.unit.serving.gateway.conftest import Shape, picture
from tests.unit.serving.gateway.decided_posts import DecidedPosts

ENFORCE = {"action": "enforce", "harm": "hate", "reason": "a slur"}


@pytest.fixture
def posts(world) -> DecidedPosts:
    return DecidedPosts(world.deps)


class Desk:
    """Calls of reviewers where access is open."""

    def __init__(self, world) -> None:
        self.client = world.client

    async def post(self, path: str, told: dict, reviewer: str | None = "vera", status: int = 200):
        named = {} if reviewer is None else {"reviewer": reviewer}
        answer = await self.client.post(f"/v1/review/{path}", json={**told, **named})
        assert answer.status_code == status, answer.text
        return answer.json()

    async def lease(self, job_id: str, reviewer: str | None = "vera", status: int = 200):
        return await self.post(f"jobs/{job_id}/lease", {}, reviewer, status)

    async def decide(self, job_id: str, reviewer: str | None = "vera", status: int = 200, **told: object):
        return await self.post(f"jobs/{job_id}/decision", told or ENFORCE, reviewer, status)


@pytest.fixture
def desk(world) -> Desk:
    return Desk(world)


# --- the queue ----------------------------------------------------------------------------------------------------


async def test_the_queue_is_told_with_its_counts_most_important_first(world, posts, desk):
    posts.queue("low", 1.0)
    high = posts.queue("high", 5.0)
    posts.queue("spam", 3.0, harm="spam", kind="reopened")
    answer = (await world.client.get("/v1/review/jobs")).json()
    assert [job["post_id"] for job in answer["jobs"]] == ["high", "spam", "low"]
    assert answer["counts"] == {"decision": {"open": 2}, "reopened": {"open": 1}}
    await desk.lease(high.job_id)
    after = (await world.client.get("/v1/review/jobs", params={"limit": 1})).json()
    assert [job["post_id"] for job in after["jobs"]] == ["spam"]
    assert after["counts"]["decision"] == {"open": 1, "leased": 1}
    for chosen in ({"harm": "spam"}, {"kind": "reopened"}):
        found = (await world.client.get("/v1/review/jobs", params=chosen)).json()
        assert [job["post_id"] for job in found["jobs"]] == ["spam"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=NaN", "harm=boredom", "kind=all", "limit=1e9"])
async def test_what_is_no_question_to_the_queue_is_refused(world, query):
    answer = await world.client.get(f"/v1/review/jobs?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_the_next_job_is_the_most_important_one_that_is_for_the_reviewer(posts, desk):
    posts.queue("first", 5.0, author_id="vera")  # her own post
    posts.queue("second", 3.0)
    posts.store.add_reports([Report("third", "vera", "hate", SystemClock().now())])
    posts.queue("third", 4.0)
    assert (await desk.post("lease", {}))["post"]["post_id"] == "second"
    assert (await desk.post("lease", {}, status=404))["code"] == "not-found"
    assert (await desk.post("lease", {"harm": "spam"}, "ben", status=404))["detail"] == "no job waits for you"
    assert (await desk.post("lease", {"harm": "hate", "kind": "decision"}, "ben"))["post"]["post_id"] == "first"


async def test_nobody_takes_a_job_about_themselves(posts, desk):
    own = posts.queue("own", author_id="vera")
    said = await desk.lease(own.job_id, status=403)
    assert "own post" in said["detail"]


# --- one job ------------------------------------------------------------------------------------------------------


async def test_a_dossier_has_everything_about_a_job(world, posts, desk):
    posts.put("earlier", text="something else")
    posts.put("post-1", "allow")
    posts.store.add_reports([Report("post-1", "rita", "hate", SystemClock().now(), note="look")])
    job = posts.queue("post-1", 2.5, text="a slur", media_ids=("ab" * 32,))
    dossier = (await world.client.get(f"/v1/review/jobs/{job.job_id}")).json()
    assert dossier["job"]["priority"] == 2.5
    assert dossier["post"]["text"] == "a slur"
    assert dossier["post"]["media_ids"] == ["ab" * 32]
    assert [one["action"] for one in dossier["history"]] == ["allow", "review"]
    assert dossier["decision"] == dossier["history"][-1]
    assert dossier["author"]["facts"]["violations"] == 1
    assert dossier["author"]["strikes"][0]["post_id"] == "earlier"
    assert [one["post_id"] for one in dossier["author_posts"]] == ["earlier"]
    assert dossier["reactions"]["reports"] == 1
    assert [(one["harm"], one["note"]) for one in dossier["reports"]] == [("hate", "look")]
    assert dossier["policy"]["classes"]["hate"]["enforce"] == 0.9
    assert dossier["appeal"] is None
    assert "rita" not in json.dumps(dossier)  # who reports is nobody's business, a reviewer's neither


async def test_a_job_whose_policy_was_not_kept_is_shown_without_it(world, posts):
    job = posts.queue("post-1")
    posts.put("post-1", "review", policy_version="long-gone")
    assert (await world.client.get(f"/v1/review/jobs/{job.job_id}")).json()["policy"]["name"] == "default"
    gone = posts.queue("post-2", policy_version="long-gone")
    answer = await world.client.get(f"/v1/review/jobs/{gone.job_id}")
    assert (answer.status_code, answer.json()["policy"]) == (200, None)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "jobs/nothing", None),
        ("POST", "jobs/nothing/lease", {"reviewer": "vera"}),
        ("POST", "jobs/nothing/release", {"reviewer": "vera"}),
        ("POST", "jobs/nothing/decision", {"reviewer": "vera", **ENFORCE}),
    ],
)
async def test_a_job_that_is_not_there_is_not_found(world, method, path, body):
    answer = await world.client.request(method, f"/v1/review/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_a_job_belongs_to_one_reviewer_at_a_time(world, posts, desk):
    job = posts.queue()
    first = await desk.lease(job.job_id, "vera")
    assert (first["job"]["state"], first["job"]["reviewer"]) == ("leased", "vera")
    refused = await desk.lease(job.job_id, "ben", status=409)
    assert (refused["code"], "another reviewer" in refused["detail"]) == ("conflict", True)
    again = await desk.lease(job.job_id, "vera")
    assert again["job"]["leased_until"] >= first["job"]["leased_until"]
    await desk.post(f"jobs/{job.job_id}/release", {}, "ben", status=409)
    assert (await desk.post(f"jobs/{job.job_id}/release", {}))["state"] == "open"
    await desk.post(f"jobs/{job.job_id}/release", {}, status=409)
    await desk.lease(job.job_id, "ben")


async def test_a_lease_lasts_as_long_as_the_settings_say(make_world):
    world = make_world(Shape(moderation=ModerationSettings(lease_minutes=0.001)))
    posts, desk = DecidedPosts(world.deps), Desk(world)
    job = posts.queue()
    await desk.lease(job.job_id, "vera")
    await asyncio.sleep(0.1)
    refused = await desk.decide(job.job_id, "vera", status=409)
    assert "take it again" in refused["detail"]
    assert posts.store.in_force(["post-1"])["post-1"].action == "review"
    await desk.lease(job.job_id, "ben")


# --- deciding -----------------------------------------------------------------------------------------------------


def published(world, topic: topics.Topic) -> list[bytes]:
    pending = world.deps.catalogue.outbox_pending(100)
    return [record.value for _, record in pending if record.topic == topic.name]


async def test_a_decision_is_in_force_published_and_traced(world, posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    answer = await world.client.post(
        f"/v1/review/jobs/{job.job_id}/decision",
        json={**ENFORCE, "reviewer": "vera"},
        headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"},
    )
    reviewed = answer.json()
    decision = reviewed["decision"]
    assert reviewed["job"]["state"] == "done"
    assert (decision["action"], decision["actor"], decision["actor_id"]) == ("enforce", "reviewer", "vera")
    assert (decision["note"], decision["automated"]) == ("a slur", False)
    assert decision["trace_id"] == "ab" * 16 == answer.headers["x-trace-id"]
    assert posts.store.in_force(["post-1"])["post-1"].decision_id == decision["decision_id"]
    assert decode_decision(published(world, topics.DECISIONS)[-1]).decision_id == decision["decision_id"]
    assert decode_verdict(published(world, topics.VERDICTS)[-1]).state == "enforced"
    assert len(published(world, topics.LABELS)) == 1
    assert (await world.client.get("/v1/review/jobs")).json()["jobs"] == []


async def test_a_demotion_lowers_as_the_policy_says_for_the_class(posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    reviewed = await desk.decide(job.job_id, action="demote", harm="spam", reason="ads")
    assert reviewed["decision"]["factor"] == 0.2


async def test_the_same_decision_again_answers_the_same_and_another_is_a_conflict(posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    first = await desk.decide(job.job_id)
    assert await desk.decide(job.job_id) == first
    await desk.decide(job.job_id, action="allow", reason="a slur", status=409)
    await desk.decide(job.job_id, "ben", status=409)
    await desk.lease(job.job_id, status=409)
    assert len(posts.store.decisions_of("post-1")) == 2


async def test_a_job_nobody_took_cannot_be_decided(posts, desk):
    job = posts.queue()
    refused = await desk.decide(job.job_id, status=409)
    assert "take it again" in refused["detail"]
    assert len(posts.store.decisions_of("post-1")) == 1


async def test_a_post_that_changed_meanwhile_has_to_be_looked_at_again(posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    posts.queue("post-1", text="a zebra at noon, edited")
    refused = await desk.decide(job.job_id, status=409)
    assert "has changed" in refused["detail"]
    await desk.post(f"jobs/{job.job_id}/release", {})
    await desk.lease(job.job_id)
    await desk.decide(job.job_id)


async def test_an_appeal_is_decided_by_another_reviewer_and_undoes_everything(world, posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    enforced = (await desk.decide(job.job_id))["decision"]
    told = {"author_id": "author-1", "text": "It was satire."}
    opened = await world.client.post(f"/v1/decisions/{enforced['decision_id']}/appeals", json=told)
    assert opened.status_code == 201
    [waiting] = posts.store.next_jobs()
    assert "own decision" in (await desk.lease(waiting.job_id, "vera", status=403))["detail"]
    dossier = await desk.lease(waiting.job_id, "ben")
    assert dossier["appeal_text"] == "It was satire."
    reviewed = await desk.decide(waiting.job_id, "ben", action="allow", reason="satire it is")
    assert reviewed["appeal"]["state"] == "reversed"
    assert reviewed["decision"]["actor"] == "appeal"
    assert posts.store.authors(["author-1"])["author-1"].strikes == ()
    found = (await world.client.get(f"/v1/appeals/{opened.json()['appeal_id']}")).json()
    assert found["outcome_id"] == reviewed["decision"]["decision_id"]
    final = await world.client.post(f"/v1/decisions/{enforced['decision_id']}/appeals", json=told)
    assert final.status_code == 409


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"action": "enforce", "reason": "r"}, "needs a harm"),
        ({"action": "enforce", "harm": "boredom", "reason": "r"}, "harm"),
        ({"action": "review", "reason": "r"}, "action"),
        ({"action": "enforce", "harm": "hate"}, "reason"),
        ({"action": "enforce", "harm": "hate", "reason": ""}, "reason"),
        ({"action": "enforce", "harm": "hate", "reason": " \n\t"}, "needs a reason"),
        ({"action": "enforce", "harm": "hate", "reason": "x" * 5_001}, "reason"),
        ({"action": "allow", "reason": "r", "factor": 0}, "factor"),
    ],
)
async def test_a_decision_that_says_too_little_or_too_much_is_refused(posts, desk, told, says):
    job = posts.queue()
    await desk.lease(job.job_id)
    refused = await desk.decide(job.job_id, status=400, **told)
    assert says in refused["detail"]
    assert posts.store.job(job.job_id).state == "leased"


async def test_a_reason_of_any_characters_is_kept(posts, desk):
    job = posts.queue()
    await desk.lease(job.job_id)
    reason = "\u202eevil\u200b \U0001f9ff\x07 zürnt"
    reviewed = await desk.decide(job.job_id, action="allow", reason=reason)
    assert reviewed["decision"]["note"] == reason


async def test_of_reviewers_at_once_exactly_one_gets_the_job_and_exactly_one_decision_counts(posts, desk):
    job = posts.queue()
    people = [f"reviewer-{n}" for n in range(6)]

    async def take(reviewer: str):
        answer = await desk.client.post(f"/v1/review/jobs/{job.job_id}/lease", json={"reviewer": reviewer})
        return reviewer, answer.status_code

    taken = await asyncio.gather(*(take(reviewer) for reviewer in people))
    [winner] = [reviewer for reviewer, status in taken if status == 200]
    assert sorted(status for _, status in taken) == [200] + [409] * 5

    async def decide(reviewer: str, reason: str):
        told = {**ENFORCE, "reason": reason, "reviewer": reviewer}
        return (await desk.client.post(f"/v1/review/jobs/{job.job_id}/decision", json=told)).status_code

    one_of_each = [decide(reviewer, "mine") for reviewer in people]
    others = [decide(winner, f"tab {n}") for n in range(4)]  # the same person twice over
    statuses = await asyncio.gather(*one_of_each, *others)
    assert sorted(statuses) == [200] + [409] * 9
    made = posts.store.decisions_of("post-1")
    assert len(made) == 2 and made[-1].actor_id == winner


async def test_of_reviewers_who_ask_for_the_next_job_at_once_each_gets_another(posts, desk):
    for number in range(5):
        posts.queue(f"post-{number}", float(number))
    taken = await asyncio.gather(*(desk.post("lease", {}, f"reviewer-{n}") for n in range(5)))
    assert {one["job"]["post_id"] for one in taken} == {f"post-{n}" for n in range(5)}
    assert {one["job"]["reviewer"] for one in taken} == {f"reviewer-{n}" for n in range(5)}


# --- who reviews --------------------------------------------------------------------------------------------------


async def test_where_access_is_open_somebody_has_to_be_named(posts, desk):
    job = posts.queue()
    for path, told in (
        ("lease", {}),
        (f"jobs/{job.job_id}/lease", {}),
        (f"jobs/{job.job_id}/release", {}),
        (f"jobs/{job.job_id}/decision", ENFORCE),
    ):
        refused = await desk.post(path, told, reviewer=None, status=400)
        assert "who reviews" in refused["detail"]
        for nobody in ("", "x" * 129, "a\nb"):
            await desk.post(path, told, reviewer=nobody, status=400)


async def test_with_a_token_the_reviewer_is_its_subject_and_nobody_else(make_world, tmp_path):
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    world = make_world(Shape(auth=factory.settings, door=door))
    posts, desk = DecidedPosts(world.deps), Desk(world)
    job = posts.queue()
    world.client.headers["authorization"] = f"Bearer {factory.right(Role.reviewer, subject='vera')}"
    refused = await desk.lease(job.job_id, "ben", status=400)
    assert "'vera'" in refused["detail"] and "'ben'" in refused["detail"]
    assert (await desk.lease(job.job_id, None))["job"]["reviewer"] == "vera"
    assert (await desk.lease(job.job_id, "vera"))["job"]["reviewer"] == "vera"
    await desk.decide(job.job_id, "ben", status=400)
    reviewed = await desk.decide(job.job_id, None)
    assert reviewed["decision"]["actor_id"] == "vera"


# --- pictures -----------------------------------------------------------------------------------------------------


async def test_reviewers_see_media_that_nobody_else_is_shown_blurred_and_grey_until_they_ask(world, posts):
    import io

    import numpy as np
    from PIL import Image

    media_id = await world.store(picture(7, (320, 240)))
    assert (await world.client.get(f"/v1/media/{media_id}")).status_code == 404
    hidden = await world.client.get(f"/v1/review/media/{media_id}")
    clear = await world.client.get(f"/v1/review/media/{media_id}", params={"clear": True})
    for answer in (hidden, clear):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["cache-control"] == "private, no-store"
    grey = np.asarray(Image.open(io.BytesIO(hidden.content)).convert("RGB")).astype(int)
    colour = np.asarray(Image.open(io.BytesIO(clear.content)).convert("RGB")).astype(int)
    assert np.abs(grey[..., 0] - grey[..., 1]).max() <= 2
    assert np.abs(colour[..., 0] - colour[..., 1]).mean() > 20
    assert grey.shape == colour.shape
    sharp, soft = (np.abs(np.diff(one.mean(axis=2), axis=1)).mean() for one in (colour, grey))
    assert soft < sharp / 20


@pytest.mark.parametrize(("name", "status"), [("ab" * 32, 404), ("x", 400), ("..%2f..", 404)])
async def test_media_that_is_not_there_is_not_found(world, name, status):
    assert (await world.client.get(f"/v1/review/media/{name}")).status_code == status


async def test_media_that_does_not_decode_is_a_clear_answer(world):
    media_id = await world.store(b"\x89PNG\r\n\x1a\n nothing")
    answer = await world.client.get(f"/v1/review/media/{media_id}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "undecodable-media"

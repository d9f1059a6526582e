"""Moderation over HTTP, the side of authors, readers and applications."""

import asyncio
import json
from datetime import timedelta
from urllib.parse import quote

import pytest

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.ids import upload_post_id
from core.moderation import HARM_CLASSES
from core.settings import ModerationSettings
from models.moderation.policy import packaged_policy
from serving.access import Door
from tests.unit.core.access.token_factory import TokenFactory
from tests.unit.serving.gateway.conftest import Shape
from tests.unit.serving.gateway.decided_posts import DecidedPosts

REPORTS = "/v1/posts/post-1/reports"


@pytest.fixture
def posts(world) -> DecidedPosts:
    return DecidedPosts(world.deps)


@pytest.fixture
def guarded(make_world, tmp_path):
    """A gateway that asks for tokens, and a way to show one."""
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    world = make_world(Shape(auth=factory.settings, door=door))

    def headers(*roles: Role, subject: str = "somebody") -> dict[str, str]:
        return {"authorization": f"Bearer {factory.right(*roles, subject=subject)}"}

    world.headers = headers
    return world


def scorer(world):
    return world.deps.moderation._moderator


# --- what would be decided --------------------------------------------------------------------------------------


async def test_a_text_is_scored_and_nothing_follows_from_it(world, posts):
    asked = {"post_id": "new", "text": "violence 0.97 spam 0.2", "language": "en", "explain": True}
    answer = await world.client.post("/v1/moderation/score", json=asked)
    judged = answer.json()
    assert answer.status_code == 200
    assert set(judged["harm"]) == set(HARM_CLASSES)
    assert judged["harm"]["violence"] == 0.97
    assert judged["action"] == "enforce"
    assert judged["reasons"][0]["rule"] == "violence.enforce"
    assert judged["reasons"][0]["threshold"] == 0.91
    assert judged["evidence"][0]["quote"] == "violence"
    assert judged["failure"] is None
    assert judged["trace_id"] == answer.headers["x-trace-id"]
    assert judged["policy_version"] == posts.desk.policy.policy.version
    assert "score;dur=" in answer.headers["server-timing"]
    assert posts.store.posts(["new"]) == {} and posts.store.next_jobs() == []
    assert world.deps.catalogue.outbox_size() == 0


async def test_harmless_text_is_allowed(world):
    judged = (await world.client.post("/v1/moderation/score", json={"text": "a zebra at noon"})).json()
    assert (judged["action"], judged["reasons"]) == ("allow", [])


@pytest.mark.parametrize("how", ["away", "broken"])
async def test_where_the_models_do_not_answer_a_person_would_look(world, how):
    if how == "away":
        scorer(world).away = True
    else:
        scorer(world).broken = {"preview"}
    answer = await world.client.post("/v1/moderation/score", json={"text": "violence 0.99"})
    judged = answer.json()
    assert answer.status_code == 200
    assert judged["action"] == "review"
    assert judged["reasons"][0]["rule"] == "failure"
    assert judged["failure"]
    assert judged["harm"] == {}


async def test_what_is_known_of_the_author_counts(world, posts):
    text = {"text": "violence 0.45"}
    before = (await world.client.post("/v1/moderation/score", json={**text, "author_id": "author-1"})).json()
    for number in range(5):  # strikes
        posts.put(f"bad-{number}")
    after = (await world.client.post("/v1/moderation/score", json={**text, "author_id": "author-1"})).json()
    without = (await world.client.post("/v1/moderation/score", json=text)).json()
    assert (before["action"], after["action"], without["action"]) == ("allow", "review", "allow")
    assert any(reason["rule"].startswith("strikes") for reason in after["reasons"])
    assert scorer(world).asked[-2].author.violations == 5


async def test_readers_learn_nothing_about_authors(guarded):
    asked = {"text": "hello", "author_id": "author-1"}
    for role, status in ((Role.reader, 403), (Role.producer, 200), (Role.reviewer, 200), (Role.admin, 200)):
        answer = await guarded.client.post("/v1/moderation/score", json=asked, headers=guarded.headers(role))
        assert answer.status_code == status, answer.text
    answer = await guarded.client.post(
        "/v1/moderation/score", json={"text": "hello"}, headers=guarded.headers(Role.reader)
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"text": NaN}', ""),
        (b'{"text": "\xff\xfe"}', ""),
        (b'{"text": "\\ud800"}', ""),
        (b"{", ""),
        (b"[]", "body"),
        (json.dumps({"text": "x" * 20_001}).encode(), "text"),
        (json.dumps({"post_id": ""}).encode(), "post_id"),
        (json.dumps({"post_id": "a\x00b"}).encode(), "post_id"),
        (json.dumps({"media_ids": ["x"]}).encode(), "media_ids"),
        (json.dumps({"media_ids": ["ab" * 32] * 21}).encode(), "media_ids"),
        (json.dumps({"links": ["x" * 2_001]}).encode(), "links"),
        (json.dumps({"harm": "hate"}).encode(), "harm"),
        (json.dumps({"text": 7}).encode(), "text"),
    ],
)
async def test_what_is_no_post_is_refused_in_words(world, body, field):
    answer = await world.client.post("/v1/moderation/score", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in json.dumps(answer.json())
    assert scorer(world).asked == []


@pytest.mark.parametrize("path", ["/v1/moderation/score", REPORTS, "/v1/decisions/d/appeals"])
async def test_a_megabyte_of_text_is_refused_unread(world, path):
    answer = await world.client.post(path, json={"text": "x" * 1_000_000, "note": "y" * 100})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_text_of_control_characters_and_disguises_is_scored_like_any_other(world):
    text = "".join(map(chr, range(1, 32))) + "\x7f\u202e\u200b\ufeff\U0001f9ff" + "\x00"
    answer = await world.client.post("/v1/moderation/score", json={"text": text})
    assert answer.status_code == 200
    assert scorer(world).asked[0].text == text


# --- the policy ---------------------------------------------------------------------------------------------------


async def test_the_policy_in_force_is_told_and_followed(make_world, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(packaged_policy())
    world = make_world(Shape(moderation=ModerationSettings(policy=path, policy_check_s=0.01)))
    following = asyncio.create_task(world.deps.moderation.keep_up())
    first = (await world.client.get("/v1/moderation/policy")).json()
    assert first["policy"]["classes"]["violence"]["enforce"] == 0.91
    assert (first["source"], first["error"]) == (str(path), "")

    async def until(holds) -> dict:
        for _ in range(500):
            told = (await world.client.get("/v1/moderation/policy")).json()
            if holds(told):
                return told
            await asyncio.sleep(0.01)
        raise AssertionError("the policy was not followed")

    path.write_bytes(packaged_policy().replace(b"enforce: 0.91\n", b"enforce: 0.85\n", 1))
    second = await until(lambda told: told["version"] != first["version"])
    assert second["policy"]["classes"]["violence"]["enforce"] == 0.85
    judged = (await world.client.post("/v1/moderation/score", json={"text": "violence 0.87"})).json()
    assert (judged["action"], judged["policy_version"]) == ("enforce", second["version"])
    path.write_text("name: [")
    broken = await until(lambda told: told["error"])
    assert broken["version"] == second["version"]
    following.cancel()


# --- the author's side --------------------------------------------------------------------------------------------


async def test_an_author_is_told_what_was_decided_and_why(world, posts):
    decision = posts.put(action="enforce", trace_id="ab" * 16)
    notice = (await world.client.get("/v1/posts/post-1/decision")).json()
    assert notice["decision_id"] == decision.decision_id
    assert (notice["action"], notice["restricted"], notice["harm"]) == ("enforce", True, "hate")
    assert (notice["appeal"], notice["decided_automatically"]) == ("open", True)
    assert notice["trace_id"] == "ab" * 16
    german = (await world.client.get("/v1/posts/post-1/decision", params={"language": "de"})).json()
    assert german["language"] == "de" and german["text"] != notice["text"]
    unknown = (await world.client.get("/v1/posts/post-1/decision", params={"language": "tlh"})).json()
    assert unknown["text"] == notice["text"]


async def test_a_notice_names_no_reviewer_and_no_reporter(world, posts):
    job = posts.queue()
    await world.client.post(REPORTS, json={"reporter_id": "rita-the-reporter", "harm": "hate"})
    await world.client.post(f"/v1/review/jobs/{job.job_id}/lease", json={"reviewer": "vera-the-reviewer"})
    decided = {"reviewer": "vera-the-reviewer", "action": "enforce", "harm": "hate", "reason": "an internal remark"}
    answer = await world.client.post(f"/v1/review/jobs/{job.job_id}/decision", json=decided)
    assert answer.status_code == 200
    notice = await world.client.get("/v1/posts/post-1/decision")
    assert notice.json()["decided_automatically"] is False
    for secret in ("rita", "vera", "remark"):
        assert secret not in notice.text


@pytest.mark.parametrize("path", ["/v1/posts/nobody/decision", "/v1/posts/nobody/decisions", "/v1/appeals/nothing"])
async def test_what_is_not_there_is_not_found(world, path):
    answer = await world.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert path.split("/")[3] in answer.json()["detail"]


async def test_the_notice_about_an_upload_that_nobody_posted_is_found_by_the_uploads_id(world, posts):
    about_it = posts.put(upload_post_id("item-7"), action="enforce")
    notice = (await world.client.get("/v1/posts/item-7/decision")).json()
    assert (notice["decision_id"], notice["action"]) == (about_it.decision_id, "enforce")
    posted = posts.put("item-7", action="demote")  # a post of that name is meant first
    assert (await world.client.get("/v1/posts/item-7/decision")).json()["decision_id"] == posted.decision_id


async def test_every_decision_about_a_post_is_listed_oldest_first(world, posts):
    first, second = posts.put(action="review"), posts.put(action="enforce")
    found = (await world.client.get("/v1/posts/post-1/decisions")).json()
    assert [one["decision_id"] for one in found] == [first.decision_id, second.decision_id]
    assert found[1]["supersedes"] == first.decision_id
    assert found[1]["scores"] == {"hate": 0.9, "spam": 0.1, "nudity": None}


async def test_an_author_appeals_once_and_a_person_gets_the_job(world, posts):
    decision = posts.put()
    told = {"author_id": "author-1", "text": "It was satire."}
    path = f"/v1/decisions/{decision.decision_id}/appeals"
    opened = await world.client.post(path, json=told)
    assert opened.status_code == 201
    assert opened.json()["state"] == "open"
    assert "satire" not in opened.text
    again = await world.client.post(path, json=told)
    assert (again.status_code, again.json()) == (201, opened.json())
    other = await world.client.post(path, json={**told, "text": "And another thing."})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert (await world.client.get(f"/v1/appeals/{opened.json()['appeal_id']}")).json() == opened.json()
    [job] = posts.store.next_jobs()
    assert (job.kind, job.appeal_id) == ("appeal", opened.json()["appeal_id"])
    assert job.priority > 0


@pytest.mark.parametrize(
    ("changes", "told", "status", "says"),
    [
        ({}, {"author_id": "somebody-else"}, 403, "only the author"),
        ({"action": "review"}, {}, 400, "restricts nothing"),
        ({"age": timedelta(days=31)}, {}, 400, "possible for 30 days"),
        ({}, {"text": ""}, 400, "text"),
        ({}, {"text": " \n "}, 400, "1 to 5,000 characters"),
        ({}, {"text": "x" * 5_001}, 400, "text"),
        ({}, {"author_id": ""}, 400, "author_id"),
        ({}, {"more": 1}, 400, "more"),
    ],
)
async def test_what_cannot_be_appealed_is_refused_with_the_reason(world, posts, changes, told, status, says):
    decision = posts.put(**changes)
    path = f"/v1/decisions/{decision.decision_id}/appeals"
    answer = await world.client.post(path, json={"author_id": "author-1", "text": "No.", **told})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert posts.store.next_jobs() == []


async def test_only_the_decision_in_force_can_be_appealed(world, posts):
    old = posts.put()
    posts.put()
    told = {"author_id": "author-1", "text": "No."}
    answer = await world.client.post(f"/v1/decisions/{old.decision_id}/appeals", json=told)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    missing = await world.client.post("/v1/decisions/nothing/appeals", json=told)
    assert missing.status_code == 404


async def test_what_the_policy_lets_nobody_appeal_is_said_so_to_the_author_alone(make_world, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes(packaged_policy().replace(b"  hate:\n", b"  hate:\n    appealable: false\n"))
    world = make_world(Shape(moderation=ModerationSettings(policy=path)))
    decision = DecidedPosts(world.deps).put()
    assert (await world.client.get("/v1/posts/post-1/decision")).json()["appeal"] == "closed"
    url = f"/v1/decisions/{decision.decision_id}/appeals"
    author = await world.client.post(url, json={"author_id": "author-1", "text": "No."})
    assert (author.status_code, author.json()["code"]) == (409, "conflict")
    assert "cannot be appealed" in author.json()["detail"]
    other = await world.client.post(url, json={"author_id": "else", "text": "No."})
    assert other.status_code == 403


# --- reports ------------------------------------------------------------------------------------------------------


def reported(world) -> list[dict]:
    records = world.publisher.of("content.interactions.v1")
    return [json.loads(record.value) for record in records]


@pytest.mark.parametrize("post_id", ["post-1", "not-there-yet", "Größe/7"])
async def test_a_report_becomes_an_event_also_of_a_post_that_is_not_there(world, posts, post_id):
    posts.put()
    told = {"reporter_id": "rita", "harm": "hate", "note": "look at this"}
    answer = await world.client.post(f"/v1/posts/{quote(post_id, safe='')}/reports", json=told)
    if "/" in post_id:
        assert answer.status_code == 404  # a path cannot carry it; the collector can
        return
    assert answer.status_code == 202
    [event] = reported(world)
    assert event["id"] == answer.json()["event_id"]
    assert (event["type"], event["data"]["item_id"]) == ("riverlight.interaction.report", post_id)
    assert event["data"]["user_id"] == event["subject"] == "rita"
    assert event["data"]["value"] == "hate\nlook at this"
    again = await world.client.post(f"/v1/posts/{post_id}/reports", json=told)
    assert again.json()["event_id"] == event["id"]  # the same report is the same event


@pytest.mark.parametrize(
    ("told", "value"),
    [
        ({"harm": "spam"}, "spam"),
        ({"note": "bad"}, "bad"),
        ({}, None),
        ({"harm": "self_harm", "note": "a\nb"}, "self_harm\na\nb"),
    ],
)
async def test_what_a_reader_said_goes_with_the_report(world, told, value):
    await world.client.post(REPORTS, json={"reporter_id": "rita", **told})
    assert reported(world)[0]["data"].get("value") == value


@pytest.mark.parametrize(
    "told",
    [
        {"harm": "boredom"},
        {"reporter_id": ""},
        {"reporter_id": "x" * 129},
        {"reporter_id": "a\nb"},
        {"note": "x" * 1_001},
        {"extra": 1},
    ],
)
async def test_what_is_no_report_is_refused(world, told):
    answer = await world.client.post(REPORTS, json={"reporter_id": "rita", **told})
    assert answer.status_code == 400
    assert reported(world) == []


async def test_a_report_is_kept_while_the_broker_is_away(world):
    world.publisher.down = True
    answer = await world.client.post(REPORTS, json={"reporter_id": "rita", "harm": "hate"})
    assert (answer.status_code, answer.json()["queued"]) == (202, True)


async def test_readers_report_as_themselves_and_applications_for_anybody(guarded):
    for role, subject, status in (
        (Role.reader, "rita", 202),
        (Role.reader, "mallory", 403),
        (Role.reviewer, "mallory", 403),
        (Role.producer, "the-app", 202),
        (Role.admin, "the-admin", 202),
    ):
        headers = guarded.headers(role, subject=subject)
        answer = await guarded.client.post(REPORTS, json={"reporter_id": "rita", "harm": "hate"}, headers=headers)
        assert answer.status_code == status, (role, answer.text)


# --- off ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/moderation/score"),
        ("GET", "/v1/moderation/policy"),
        ("GET", "/v1/posts/p/decision"),
        ("GET", "/v1/posts/p/decisions"),
        ("POST", "/v1/posts/p/reports"),
        ("POST", "/v1/decisions/d/appeals"),
        ("GET", "/v1/appeals/a"),
        ("GET", "/v1/review/jobs"),
        ("POST", "/v1/review/lease"),
    ],
)
async def test_where_moderation_is_off_it_says_so(make_world, method, path):
    world = make_world(Shape(moderation=None))
    bodies = {"reports": {"reporter_id": "r"}, "appeals": {"author_id": "a", "text": "t"}}
    body = bodies.get(path.rpartition("/")[2], {}) if method == "POST" else None
    answer = await world.client.request(method, path, json=body)
    assert answer.status_code == 404
    assert "moderation.enabled is false" in answer.json()["detail"]


# --- measures -----------------------------------------------------------------------------------------------------


async def test_measures_are_told_and_what_is_unknown_is_null(world):
    posts = DecidedPosts(world.deps)
    for number in range(12):
        posts.put(f"post-{number}", "enforce")
    answer = await world.client.get("/v1/moderation/measures", params={"days": 30})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["enforced"], found["proactive"]["share"], found["post_to_enforced"]["p50_s"]) == (12, 1.0, 3600.0)
    assert found["prevalence"]["any"] == {"value": None, "low": None, "high": None}
    assert found["valid_appeals"]["share"] is None
    posts.put("post-12", "enforce")
    again = (await world.client.get("/v1/moderation/measures", params={"days": 30})).json()
    assert again == found  # counted once a minute
    assert (await world.client.get("/v1/moderation/measures", params={"days": 29})).json()["enforced"] == 13


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "1e9", "week"])
async def test_measures_of_no_stretch_of_time_are_refused(world, days):
    answer = await world.client.get("/v1/moderation/measures", params={"days": days})
    assert answer.status_code == 400
    assert "days" in answer.json()["detail"]


async def test_the_review_console_shows_measures_and_says_what_is_unknown(world):
    posts = DecidedPosts(world.deps)
    for number in range(12):
        posts.put(f"post-{number}", "enforce")
    shown = (await world.client.get("/console/review")).text
    assert "The last 7 days" in shown
    assert "100% <small>(76%–100%)</small>" in shown
    assert '<span class="soft">unknown</span>' in shown

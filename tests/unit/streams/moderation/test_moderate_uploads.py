"""Uploads are judged like posts: once, also when nobody posts them, and with the verdict of every post."""

import asyncio
from typing import Any

import pytest

from core.entries import IndexEntry, Version, encode_entry, tombstone_headers
from core.errors import Unavailable
from core.events import encode
from core.ids import upload_post_id
from core.moderation import decode_verdict
from core.ports import StoredRecord
from core.settings import StreamSettings
from core.topics import INDEX_ENTRIES, INTERACTIONS, VERDICTS
from monitoring import catalogue as metrics
from streams.agents.moderate_posts import PostModerator
from streams.agents.moderate_uploads import UploadModerator
from streams.agents.post_reactions import PostReactions
from streams.moderation.rescoring import Rescoring
from tests.unit.streams.moderation.world import World

MEDIA = "a" * 64


@pytest.fixture
def agent(world: World) -> UploadModerator:
    return UploadModerator(world.store, world.judges, world.recorder, StreamSettings())


def entry(item_id: str, title: str = "", after_s: float = 0.0, **more: Any) -> IndexEntry:
    values: dict[str, Any] = {"media_id": MEDIA, "owner_id": "author", "vector": b"", "model_version": "m/1", **more}
    version = Version(1_700_000_000_000_000 + int(after_s * 1e6), 0)
    return IndexEntry(item_id=item_id, version=version, title=title, event_id=f"e-{item_id}-{after_s}", **values)


def record(one: IndexEntry) -> StoredRecord:
    return StoredRecord(INDEX_ENTRIES.name, 0, 0, one.item_id, encode_entry(one), {}, 0)


def removal(item_id: str, after_s: float) -> StoredRecord:
    headers = tombstone_headers(entry(item_id, after_s=after_s).version)
    return StoredRecord(INDEX_ENTRIES.name, 0, 0, item_id, None, headers, 0)


async def judge(agent: UploadModerator, *records: StoredRecord) -> None:
    await agent.process(records, lambda: True)


def verdicts(world: World) -> list[tuple[str, list[str]]]:
    waiting = [record for _, record in world.catalogue.outbox_pending(100) if record.topic == VERDICTS.name]
    told = [decode_verdict(one.value) for one in waiting if one.value is not None]
    return [(one.state, one.item_ids) for one in told]


async def test_an_upload_that_nobody_posts_is_taken_down_by_a_verdict_about_itself(
    world: World, agent: UploadModerator
) -> None:
    await judge(agent, record(entry("bad", "look", description="violence .999", tags=["fight"])), record(entry("fine")))
    post = world.store.posts([upload_post_id("bad")])[upload_post_id("bad")]
    assert (post.author_id, post.item_ids, post.media_ids) == ("author", ("bad",), (MEDIA,))
    assert post.text == "look\nviolence .999\nfight"
    assert (world.action(upload_post_id("bad")), world.action(upload_post_id("fine"))) == ("enforce", "allow")
    assert verdicts(world) == [("enforced", ["bad"])]
    assert world.store.authors(["author"])["author"].facts.violations == 1
    timed, _ = world.recorder.render()  # how long uploads wait is not how long posts do
    assert f"{metrics.MODERATION_DECISION_SECONDS.name}_count{{".encode() not in timed


async def test_the_same_entry_again_and_one_that_shows_the_same_are_not_judged_again(
    world: World, agent: UploadModerator
) -> None:
    first = entry("item", "a cat")
    await judge(agent, record(first))
    asked = len(world.moderator.asked)
    await judge(agent, record(first), record(first))
    await judge(agent, record(entry("item", "a cat", after_s=9, category="pets")))
    await judge(agent, record(entry("item", "hate .999", after_s=-5)))  # late: an older state of it
    assert len(world.moderator.asked) == asked
    await judge(agent, record(entry("item", "hate .999", after_s=20)))
    assert world.action(upload_post_id("item")) == "enforce"


@pytest.mark.parametrize("unseen", [{"visibility": "private"}, {"state": "hidden"}])
async def test_what_only_its_owner_sees_is_judged_when_it_is_shown(
    world: World, agent: UploadModerator, unseen: dict[str, str]
) -> None:
    await judge(agent, record(entry("item", "hate .999", **unseen)))
    assert world.store.posts([upload_post_id("item")]) == {}
    await judge(agent, record(entry("item", "hate .999", after_s=5)))
    assert world.action(upload_post_id("item")) == "enforce"


async def test_deleting_an_upload_deletes_its_post_and_what_was_taken_down_stays_down(
    world: World, agent: UploadModerator
) -> None:
    world.moderator.broken = {upload_post_id("unsure")}
    await judge(agent, record(entry("bad", "hate .999")), record(entry("unsure", "a cat")))
    assert [job.post_id for job in world.store.next_jobs()] == [upload_post_id("unsure")]
    await judge(agent, removal("bad", 5), removal("unsure", 5), removal("unknown", 5))
    stored = world.store.posts([upload_post_id(one) for one in ("bad", "unsure", "unknown")])
    assert {post.state for post in stored.values()} == {"deleted"} and len(stored) == 2
    assert world.store.next_jobs() == []
    assert verdicts(world) == [("enforced", ["bad"])]
    await judge(agent, removal("bad", 5))  # the same again


async def test_a_post_takes_over_the_upload_that_it_shows_and_its_review(world: World, agent: UploadModerator) -> None:
    world.moderator.broken = {upload_post_id("item")}
    await judge(agent, record(entry("item", "a cat")))
    assert len(world.store.next_jobs()) == 1
    posts = PostModerator(world.store, world.judges)
    await posts([world.written("other", "mine", author_id="thief", item_ids=["item"], media_ids=[MEDIA])])
    assert len(world.store.next_jobs()) == 1  # naming somebody else's upload changes nothing
    await posts([world.written("p", "see my cat", item_ids=["item"], media_ids=[MEDIA])])
    assert world.store.posts([upload_post_id("item")])[upload_post_id("item")].state == "deleted"
    assert world.store.next_jobs() == []
    await judge(agent, record(entry("item", "a cat")))  # delivered again
    assert world.store.posts([upload_post_id("item")])[upload_post_id("item")].state == "deleted"


async def test_posting_what_was_taken_down_does_not_bring_it_back(world: World, agent: UploadModerator) -> None:
    await judge(agent, record(entry("item", "hate .999")))
    await PostModerator(world.store, world.judges)([world.written("p", "see", item_ids=["item"], media_ids=[MEDIA])])
    assert world.store.posts([upload_post_id("item")])[upload_post_id("item")].state == "active"
    assert world.action(upload_post_id("item")) == "enforce"


@pytest.mark.parametrize(
    ("text", "media", "judged"),
    [
        ("about a cat", [MEDIA], None),  # the post shows all of it
        ("look", [MEDIA], ()),  # its words are nowhere else
        ("about a cat", [], (MEDIA,)),  # the post names it, and shows another thing
    ],
)
async def test_of_an_upload_that_a_post_shows_already_only_the_rest_is_judged(
    world: World, agent: UploadModerator, text: str, media: list[str], judged: tuple[str, ...] | None
) -> None:
    await PostModerator(world.store, world.judges)([world.written("p", text, item_ids=["item"], media_ids=media)])
    world.moderator.asked.clear()
    await judge(agent, record(entry("item", "a cat")))
    assert [tuple(post.media_ids) for post in world.moderator.asked] == ([] if judged is None else [judged])


async def test_reports_of_an_upload_are_about_the_post_that_it_is_judged_as(
    world: World, agent: UploadModerator
) -> None:
    await judge(agent, record(entry("item", "a cat")))
    reactions = PostReactions(world.store, Rescoring(), world.recorder, StreamSettings(), feed=world.feed)
    told = [world.did("Report", "item", value="spam"), world.did("Report", "elsewhere", value="hate")]
    records = [StoredRecord(INTERACTIONS.name, 0, 0, "u", encode(one), {}, 0) for one in told]
    await reactions.process(records, lambda: True)
    reports = world.store.reports_of([upload_post_id("item"), "item", "elsewhere"])
    assert {post_id: [one.harm for one in some] for post_id, some in reports.items()} == {
        upload_post_id("item"): ["spam"],
        "item": [],
        "elsewhere": ["hate"],
    }


async def test_uploads_wait_for_a_moment_without_posts_four_at_a_time(
    world: World, agent: UploadModerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def quiet(longest_s: float) -> None:
        asked.append(longest_s)

    monkeypatch.setattr(world.judges, "quiet", quiet)
    await judge(agent, *(record(entry(f"item-{n}", "a cat")) for n in range(9)))
    assert asked == [2.0, 2.0, 2.0]


async def test_a_quiet_moment_is_one_in_which_nothing_is_being_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, original = asyncio.Event(), world.moderator.score

    async def slow(posts: Any, **options: Any) -> Any:
        await go_on.wait()
        return await original(posts, **options)

    monkeypatch.setattr(world.moderator, "score", slow)
    posting = asyncio.create_task(PostModerator(world.store, world.judges)([world.written("p", "a cat")]))
    await asyncio.sleep(0.05)
    await world.judges.quiet(0.01)  # not for ever
    waiting = asyncio.create_task(world.judges.quiet(30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    go_on.set()
    await asyncio.gather(posting, waiting)


async def test_one_that_can_never_be_recorded_does_not_keep_the_others(world: World, agent: UploadModerator) -> None:
    await judge(agent, record(entry("item", "a cat")))
    await judge(
        agent,
        record(entry("item", "hate .999", after_s=5, owner_id="somebody else")),
        record(entry("good", "hate .999", after_s=5)),
    )
    assert world.action(upload_post_id("good")) == "enforce"
    assert world.action(upload_post_id("item")) == "allow"


async def test_a_catalogue_that_does_not_answer_is_waited_for(
    world: World, agent: UploadModerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failures = world.store.record, [Unavailable("away"), Unavailable("away")]

    def recorded(*given: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(*given, **more)

    monkeypatch.setattr(world.store, "record", recorded)
    await judge(agent, record(entry("item", "hate .999")), StoredRecord(INDEX_ENTRIES.name, 0, 0, "x", b"{", {}, 0))
    assert world.action(upload_post_id("item")) == "enforce"

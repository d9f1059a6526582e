"""Posts become decisions: once each, by their newest version, and never `allow` because something failed."""

import random
from typing import Any

import pytest

from core.errors import Unavailable
from core.moderation import decode_decision, decode_verdict
from core.topics import DECISIONS, FEATURES, VERDICTS
from monitoring import catalogue as metrics
from streams.agents.moderate_posts import NAME, PostModerator
from tests.unit.streams.moderation.world import World


@pytest.fixture
def agent(world: World) -> PostModerator:
    return PostModerator(world.store, world.judges)


async def test_a_harmless_post_is_let_through_and_a_harmful_one_is_enforced_with_its_evidence(
    world: World, agent: PostModerator
) -> None:
    rejected = await agent([world.written("fine", "a cat"), world.written("bad", "violence .999", item_ids=["i1"])])
    assert rejected == []
    assert world.action("fine") == "allow"
    decision = world.store.in_force(["bad"])["bad"]
    assert (decision.action, decision.harm, decision.item_ids) == ("enforce", "violence", ["i1"])
    assert [one.quote for one in decision.evidence] == ["violence"]  # type: ignore[union-attr]
    assert decision.policy_version == world.policy.version
    assert decision.model_version == "moderation/fake"
    assert world.recorder.value(metrics.MODERATION_DECISIONS, action="enforce", harm="violence", actor="model") == 1


async def test_a_decision_and_its_verdict_wait_in_the_outbox_for_the_relay(world: World, agent: PostModerator) -> None:
    await agent([world.written("bad", "hate .999", item_ids=["i1"])])
    records = [record for _, record in world.catalogue.outbox_pending(10)]
    assert [record.topic for record in records] == [DECISIONS.name, VERDICTS.name]
    decision, verdict = decode_decision(records[0].value or b""), decode_verdict(records[1].value or b"")
    assert (verdict.post_id, verdict.state, verdict.item_ids) == ("bad", "enforced", ["i1"])
    assert verdict.decision_id == decision.decision_id


async def test_the_same_event_again_changes_nothing(world: World, agent: PostModerator) -> None:
    event = world.written("bad", "hate .999")
    await agent([event])
    head, size = world.store.audit_head(), world.catalogue.outbox_size()
    await agent([event, event])
    assert (world.store.audit_head(), world.catalogue.outbox_size()) == (head, size)
    assert world.catalogue.seen(NAME, [event.event.id]) == {event.event.id}


@pytest.mark.parametrize("seed", range(5))
async def test_the_newest_version_of_a_post_counts_whatever_order_its_events_come_in(
    world: World, agent: PostModerator, seed: int
) -> None:
    story = [
        world.written("p", "violence .999"),
        world.written("p", "violence .01", "PostChanged", after_s=10),
        world.written("p", "hate .999", "PostChanged", after_s=20),
    ]
    random.Random(seed).shuffle(story)
    for event in story:
        await agent([event])
    decision = world.store.in_force(["p"])["p"]
    assert (decision.action, decision.harm) == ("enforce", "hate")


async def test_a_deleted_post_is_not_scored_and_what_was_taken_down_with_it_does_not_come_back(
    world: World, agent: PostModerator
) -> None:
    await agent([world.written("p", "violence .999")])
    world.moderator.asked.clear()
    await agent([world.deleted("p", after_s=5), world.written("p", "late", "PostChanged", after_s=1)])
    assert world.moderator.asked == []
    assert world.store.posts(["p"])["p"].state == "deleted"
    [verdict] = [record for _, record in world.catalogue.outbox_pending(10) if record.topic == VERDICTS.name]
    assert decode_verdict(verdict.value or b"").state == "enforced"


async def test_posts_without_scores_are_reviewed_by_people(world: World, agent: PostModerator) -> None:
    world.moderator.broken = {"broken"}
    await agent([world.written("broken", "a cat"), world.written("fine", "a cat")])
    assert world.action("broken") != "allow"
    assert world.action("fine") == "allow"
    assert [job.post_id for job in world.store.next_jobs()] == ["broken"]


async def test_a_moderator_that_is_away_lets_nothing_through(world: World, agent: PostModerator) -> None:
    world.moderator.away = True
    await agent([world.written("p", "a cat"), world.written("q", "a dog")])
    assert {world.action("p"), world.action("q")}.isdisjoint({"allow"})
    assert {job.reason for job in world.store.next_jobs()} == {"failure"}


async def test_media_that_could_not_be_looked_at_ask_for_a_review(world: World, agent: PostModerator) -> None:
    world.moderator.missing["p"] = ["media:abc: timeout"]
    await agent([world.written("p", "a cat")])
    assert world.action("p") != "allow"


async def test_media_on_a_list_of_known_harm_are_found_as_soon_as_the_list_has_them(
    world: World, agent: PostModerator
) -> None:
    [name, listed] = next(iter(world.policy.known_harm.items()))
    world.moderator.phashes = {"p": {"m": ["00000000000000ff"]}, "q": {"m": ["00000000000000ff"]}}
    await agent([world.written("p", "a cat")])
    assert world.action("p") == "allow"
    world.store.add_known(name, ["00000000000000fe"], listed.harm, "somebody")
    world.known.catch_up()
    await agent([world.written("q", "a cat")])
    assert world.action("q") == listed.action
    assert world.store.in_force(["q"])["q"].reasons[0].rule == f"known-harm.{name}"


async def test_a_post_that_somebody_decided_meanwhile_is_looked_at_again(
    world: World, agent: PostModerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent([world.written("p", "violence .01")])
    rival = PostModerator(world.store, world.judges)
    original = world.moderator.score
    first = True

    async def slow(posts, **options):  # type: ignore[no-untyped-def]
        nonlocal first
        if first:
            first = False
            await rival([world.written("p", "hate .999", "PostChanged", after_s=5)])
        return await original(posts, **options)

    monkeypatch.setattr(world.moderator, "score", slow)
    await agent([world.written("p", "spam .999", "PostChanged", after_s=1), world.written("other", "a cat")])
    assert world.store.in_force(["p"])["p"].harm == "hate"  # the newer content
    assert world.action("other") == "allow"


async def test_a_catalogue_that_does_not_answer_is_the_envelopes_to_wait_for(
    world: World, agent: PostModerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise Unavailable("the catalogue is away")

    monkeypatch.setattr(world.store, "record", away)
    with pytest.raises(Unavailable):
        await agent([world.written("p", "a cat")])


async def test_many_posts_are_recorded_some_at_a_time_pictures_apart_and_those_that_were_are_not_done_again(
    world: World, agent: PostModerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {number: {"media_ids": ["a" * 64]} for number in range(0, 48, 4)}  # every fourth shows a picture
    batch = [world.written(f"p{number}", f"hate .{900 + number}", **shown.get(number, {})) for number in range(48)]
    record, calls = world.store.record, list[int]()

    def once_away(consumer: str, event_ids: list[str], *args: Any, **named: Any) -> Any:
        calls.append(len(event_ids))
        if len(calls) == 2:
            raise Unavailable("the catalogue is away")
        return record(consumer, event_ids, *args, **named)

    monkeypatch.setattr(world.store, "record", once_away)
    with pytest.raises(Unavailable, match="away"):
        await agent(batch)
    kept = world.catalogue.seen(NAME, [one.event.id for one in batch])
    assert sorted(calls, reverse=True) == [32, 8, 4, 4] and 0 < len(kept) < 48
    before = world.catalogue.outbox_size()
    await agent(batch)
    assert world.catalogue.seen(NAME, [one.event.id for one in batch]) == {one.event.id for one in batch}
    assert world.catalogue.outbox_size() - before == 2 * (48 - len(kept))  # a decision and a verdict each
    assert all(len(world.store.decisions_of(f"p{number}")) == 1 for number in range(48))


async def test_posts_are_decided_also_while_the_broker_is_away(world: World, agent: PostModerator) -> None:
    world.publisher.down = True
    assert await agent([world.written("p", "hate .999")]) == []
    assert world.action("p") == "enforce"
    world.publisher.down = False
    await agent([world.written("q", "a cat")])
    assert {record.key for record in world.publisher.of(FEATURES.name)} == {"q", "author"}

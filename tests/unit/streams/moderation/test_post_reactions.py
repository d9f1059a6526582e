"""What others do with posts counts once, is kept, and has the posts judged again when it matters."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from core.entries import Version
from core.events import UserProfile, encode, encode_frame
from core.moderation import PostScores, PostToScore, ScoreFailure
from core.ports import StoredRecord
from core.settings import StreamSettings
from core.topics import INTERACTIONS
from monitoring import catalogue as metrics
from storage.moderation import ProfileChange
from streams.agents import post_reactions
from streams.agents.moderate_posts import PostModerator
from streams.agents.post_reactions import PostReactions, Rescorer, is_drawn
from streams.moderation.rescoring import Rescoring
from tests.unit.streams.moderation.world import World


def record(*events) -> StoredRecord:  # type: ignore[no-untyped-def]
    value = encode(events[0]) if len(events) == 1 else encode_frame(events)
    return StoredRecord(INTERACTIONS.name, 0, 0, "u", value, {}, 0)


def parts(world: World) -> tuple[PostReactions, Rescorer, Rescoring]:
    rescoring = Rescoring()
    reactions = PostReactions(world.store, rescoring, world.recorder, StreamSettings())
    rescorer = Rescorer(world.store, world.judges, rescoring, world.recorder, world.clock, world.settings)
    return reactions, rescorer, rescoring


async def moderated(world: World, *posts: tuple[str, str]) -> None:
    await PostModerator(world.store, world.judges)([world.written(name, text) for name, text in posts])
    world.clock.pass_s(60)


async def test_reactions_to_posts_count_once_however_often_they_are_delivered(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    reactions, _, _ = parts(world)
    batch = record(
        world.did("Impression", "p"),
        world.did("Like", "p"),
        world.did("Comment", "p", value="what a cat"),
        world.did("Impression", "no-post"),
        world.did("Click", "p"),
    )
    for _ in range(2):
        await reactions.process([batch], lambda: True)
    counted = world.store.reactions(["p", "no-post"])
    assert (counted["p"].impressions, counted["p"].likes, counted["p"].comments) == (1, 1, 1)
    assert counted["p"].comment_texts == ("what a cat",)
    assert counted["no-post"].impressions == 0


async def test_a_report_of_a_post_that_comes_later_is_kept(world: World) -> None:
    reactions, _, _ = parts(world)
    await reactions.process([record(world.did("Report", "late", value="hate"))], lambda: True)
    await moderated(world, ("late", "a cat"))
    [report] = world.store.reports_of(["late"])["late"]
    assert (report.harm, report.note) == ("hate", "")


async def test_a_report_in_words_keeps_the_words(world: World) -> None:
    reactions, _, _ = parts(world)
    await reactions.process([record(world.did("Report", "p", value="they threaten me"))], lambda: True)
    [report] = world.store.reports_of(["p"])["p"]
    assert (report.harm, report.note) == (None, "they threaten me")


@pytest.mark.parametrize(
    ("value", "harm", "note"),
    [
        ("hate\nlook\nat this", "hate", "look\nat this"),
        ("hateful\nwords", None, "hateful\nwords"),
        ("Self-harm\n", "self_harm", ""),
    ],
)
async def test_a_report_names_the_class_in_its_first_line_and_the_words_below(
    world: World, value: str, harm: str | None, note: str
) -> None:
    reactions, _, _ = parts(world)
    await reactions.process([record(world.did("Report", "p", value=value))], lambda: True)
    [report] = world.store.reports_of(["p"])["p"]
    assert (report.harm, report.note) == (harm, note)


async def test_one_bad_event_of_a_frame_and_quotes_in_another_cost_the_rest_nothing(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    reactions, _, _ = parts(world)
    good = [
        world.did("Like", "p"),
        world.did("Comment", "p", value='"what"\n a cat'),
        world.did("Report", "p", value="spam"),
    ]
    frame = encode_frame(good)[:-1] + b',{"type":"riverlight.interaction.like"}]'
    await reactions.process([StoredRecord(INTERACTIONS.name, 0, 0, "u", frame, {}, 0)], lambda: True)
    counted = world.store.reactions(["p"])["p"]
    assert (counted.likes, counted.comments, counted.reports) == (1, 1, 1)
    assert counted.comment_texts == ('"what"\n a cat',)


async def test_what_is_no_event_is_left_to_others(world: World) -> None:
    reactions, _, _ = parts(world)
    bad = StoredRecord(INTERACTIONS.name, 0, 0, "u", b'{"type": "riverlight.interaction.report"', {}, 0)
    gone = StoredRecord(INTERACTIONS.name, 0, 1, "u", None, {}, 0)
    await reactions.process([bad, gone], lambda: True)


async def test_followers_count_for_the_followed(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    reactions, _, _ = parts(world)
    await reactions.process([record(world.did("Follow", "author"))], lambda: True)
    assert world.store.authors(["author"])["author"].facts.followers == 1


async def test_independent_reports_bring_a_post_before_people(world: World) -> None:
    await moderated(world, ("p", "a cat"), ("q", "a dog"))
    assert world.action("p") == "allow"
    reactions, rescorer, rescoring = parts(world)
    joined = world.clock.now() - timedelta(days=400)
    profiles = [
        ProfileChange(f"c{number}", Version(1, number), UserProfile(user_id=f"u{number}", joined_at=joined))
        for number in range(6)
    ]
    world.store.apply_profiles("test", profiles)
    told = [world.did("Report", "p", user_id=f"u{number}", value="hate") for number in range(6)]
    for one in told:  # minutes apart: together they would look like a campaign
        world.clock.pass_s(1800)
        await reactions.process([record(one)], lambda: True)
    assert len(rescoring) == 1
    await rescorer.judge_some(5)
    decision = world.store.in_force(["p"])["p"]
    assert decision.action in ("review", "demote")
    assert "reports" in [reason.rule for reason in decision.reasons]
    assert [job.post_id for job in world.store.next_jobs()] == ["p"]
    assert world.recorder.value(metrics.MODERATION_RESCORED, outcome="changed") == 1


async def test_enough_reporters_of_whom_nothing_is_known_bring_a_post_before_people(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    reactions, rescorer, _ = parts(world)
    for number in range(7):
        await reactions.process([record(world.did("Report", "p", user_id=f"u{number}", value="hate"))], lambda: True)
    await rescorer.judge_some(5)
    assert world.action("p") == "allow"
    await reactions.process([record(world.did("Report", "p", user_id="u7", value="hate"))], lambda: True)
    await rescorer.judge_some(5)
    assert (world.action("p"), [job.post_id for job in world.store.next_jobs()]) == ("review", ["p"])


async def test_reactions_that_change_nothing_make_no_decision(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    before = world.store.in_force(["p"])["p"].decision_id
    reactions, rescorer, _ = parts(world)
    await reactions.process([record(world.did("Like", "p"))], lambda: True)
    await rescorer.judge_some(5)
    assert world.store.in_force(["p"])["p"].decision_id == before
    assert world.recorder.value(metrics.MODERATION_RESCORED, outcome="same") == 1


async def test_posts_that_had_no_scores_are_judged_when_the_moderator_is_back(world: World) -> None:
    world.moderator.away = True
    await moderated(world, ("p", "a cat"))
    assert world.action("p") != "allow"
    world.moderator.away = False
    _, rescorer, _ = parts(world)
    await rescorer.catch_up()
    assert world.action("p") == "allow"
    assert world.store.next_jobs() == []


async def test_all_that_failed_is_judged_in_one_go_when_the_moderator_is_back(world: World) -> None:
    world.moderator.away = True
    await moderated(world, *((f"p{number}", "a cat") for number in range(30)))
    _, rescorer, _ = parts(world)
    await rescorer.catch_up()
    assert {world.action(f"p{number}") for number in range(30)} == {"review"}
    world.moderator.away = False
    await rescorer.catch_up()
    assert {world.action(f"p{number}") for number in range(30)} == {"allow"}
    assert world.store.next_jobs() == []


async def test_posts_that_can_never_be_scored_do_not_keep_the_others_and_are_left_alone_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(post_reactions, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(post_reactions, "_FAILED_AT_ONCE", 2)
    world.moderator.away = True
    await moderated(world, *((f"p{number}", "a cat" if number == 5 else "unreadable") for number in range(6)))
    world.moderator.away = False
    score, asked = world.moderator.score, list[str]()

    async def never_some(posts: Sequence[PostToScore], **named: Any) -> list[PostScores | ScoreFailure]:
        asked.extend(post.post_id for post in posts)
        scores = await score(posts, **named)
        return [
            ScoreFailure(post_id=post.post_id, code="unreadable", message="no", transient=False)
            if post.text == "unreadable"
            else one
            for post, one in zip(posts, scores, strict=True)
        ]

    monkeypatch.setattr(world.moderator, "score", never_some)
    _, rescorer, _ = parts(world)
    await rescorer.catch_up()
    assert sorted(asked) == [f"p{number}" for number in range(6)]
    assert world.action("p5") == "allow"
    tries = []
    for second in range(1, 200):
        clock.now, before = float(second), len(asked)
        await rescorer.catch_up()
        tries += [second] * (len(asked) > before)
    assert tries == [30, 90]


async def test_posts_whose_pictures_could_not_be_looked_at_are_judged_minutes_after_they_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(post_reactions, "time", SimpleNamespace(monotonic=lambda: clock.now))
    score, away = world.moderator.score, [True]

    async def without_pictures(posts: Sequence[PostToScore], **named: Any) -> list[PostScores | ScoreFailure]:
        scores = await score(posts, **named)
        return [msgspec.structs.replace(one, missing=["picture"]) if away[0] else one for one in scores]

    monkeypatch.setattr(world.moderator, "score", without_pictures)
    await moderated(world, ("p", "a cat"))
    _, rescorer, _ = parts(world)
    for _ in range(200):  # half an hour
        clock.now += 10
        await rescorer.catch_up()
    assert world.action("p") == "review"
    away[0] = False
    tries = 0
    while world.action("p") != "allow":
        clock.now += 10
        await rescorer.catch_up()
        tries += 1
        assert tries <= 30, "five minutes and more"


async def test_posts_without_scores_are_found_behind_any_number_of_more_important_reviews(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_reactions, "_FAILED_AT_ONCE", 2)
    await moderated(world, ("a", "violence .6"), ("b", "violence .7"))
    world.moderator.away = True
    await moderated(world, ("p", "a cat"))
    world.moderator.away = False
    assert [job.post_id for job in world.store.next_jobs()][-1] == "p"
    _, rescorer, _ = parts(world)
    await rescorer.catch_up()
    assert world.action("p") == "allow"


async def test_what_a_person_decided_stands(world: World) -> None:
    await moderated(world, ("p", "violence .999"))
    world.store.record("test", [], jobs=[])
    job_reactions, rescorer, _ = parts(world)
    appeal = world.store.open_appeal(world.store.in_force(["p"])["p"].decision_id, "author", "it is a film")
    job = next(job for job in world.store.next_jobs() if job.appeal_id == appeal.appeal_id)
    world.store.lease("rita", job.job_id)
    world.store.decide(job.job_id, "rita", "allow", None, "a film review")
    await job_reactions.process([record(world.did("Like", "p"))], lambda: True)
    await rescorer.judge_some(5)
    assert world.action("p") == "allow"


async def test_some_impressions_have_their_post_reviewed_the_same_ones_on_redelivery(world: World) -> None:
    await moderated(world, ("p", "a cat"))
    reactions = PostReactions(world.store, Rescoring(), world.recorder, StreamSettings(), impression_sample=1.0)
    batch = record(world.did("Impression", "p"), world.did("Impression", "no-post"), world.did("Like", "p"))
    for _ in range(2):
        await reactions.process([batch], lambda: True)
    [job] = world.store.next_jobs()
    assert (job.kind, job.post_id, job.sample_rate) == ("sample", "p", 1.0)


def test_a_sample_is_of_its_share() -> None:
    drawn = sum(is_drawn(f"e{number}", 0.1) for number in range(5_000))
    assert 400 < drawn < 600
    assert not any(is_drawn(f"e{number}", 0.0) for number in range(100))

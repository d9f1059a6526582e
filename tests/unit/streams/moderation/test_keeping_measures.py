"""The measures of moderation are gauges; what is unknown is NaN, and what was drawn too early is reviewed later."""

import math

from core.events import encode, encode_frame
from core.ports import StoredRecord
from core.settings import StreamSettings
from core.topics import INTERACTIONS
from monitoring import catalogue as metrics
from storage.moderation import ReactionDelta
from streams.agents.moderate_posts import PostModerator
from streams.agents.post_reactions import PostReactions
from streams.moderation.keeping_measures import MeasureKeeper
from streams.moderation.rescoring import Rescoring
from tests.unit.streams.moderation.world import World

N_POSTS = 40


async def seen(world: World, *events) -> None:  # type: ignore[no-untyped-def]
    value = encode(events[0]) if len(events) == 1 else encode_frame(events)
    reactions = PostReactions(world.store, Rescoring(), world.recorder, StreamSettings(), impression_sample=1.0)
    await reactions.process([StoredRecord(INTERACTIONS.name, 0, 0, "u", value, {}, 0)], lambda: True)


def keeper(world: World) -> MeasureKeeper:
    return MeasureKeeper(world.store, world.recorder, world.clock)


async def test_a_popular_post_that_is_drawn_often_counts_as_often_and_is_reviewed_once(world: World) -> None:
    names = [f"p{n}" for n in range(N_POSTS)]
    await PostModerator(world.store, world.judges)([world.written(name, "a cat") for name in names])
    world.clock.pass_s(60)
    await seen(world, *(world.did("Impression", name) for name in names))
    await seen(world, *(world.did("Impression", "p0") for _ in range(60)))
    for _ in names:
        job = world.store.lease("rita", kind="sample")
        assert job is not None
        harmful = job.post_id == "p0"
        world.store.decide(job.job_id, "rita", "enforce" if harmful else "allow", "spam" if harmful else None, "seen")
    assert world.store.lease("rita") is None
    keeper(world).measure()
    gauge = world.recorder.value
    assert gauge(metrics.MODERATION_PREVALENCE, harm="any", bound="value") == 61 / 100
    assert gauge(metrics.MODERATION_PREVALENCE, harm="spam", bound="value") == 61 / 100
    assert gauge(metrics.MODERATION_PREVALENCE, harm="hate", bound="value") == 0.0
    assert gauge(metrics.MODERATION_PREVALENCE, harm="any", bound="low") < 0.3
    assert gauge(metrics.MODERATION_HARMFUL_IMPRESSIONS, harm="spam") == 61
    assert gauge(metrics.MODERATION_SAMPLED, state="reviewed") == N_POSTS
    assert gauge(metrics.MODERATION_SAMPLED, state="waiting") == 0


async def test_what_is_unknown_is_no_number(world: World) -> None:
    keeper(world).measure()
    for gauge, labels in (
        (metrics.MODERATION_PREVALENCE, {"harm": "any", "bound": "value"}),
        (metrics.MODERATION_VALID_APPEALS, {"bound": "low"}),
        (metrics.MODERATION_PROACTIVE, {"bound": "high"}),
        (metrics.MODERATION_ACTION_SECONDS, {"what": "enforced", "quantile": "p95"}),
    ):
        assert math.isnan(world.recorder.value(gauge, **labels)), gauge.name
    assert world.recorder.value(metrics.MODERATION_REPORTS, harm="none") == 0


async def test_a_drawn_post_whose_job_could_not_be_opened_is_reviewed_later(world: World) -> None:
    await PostModerator(world.store, world.judges)([world.written("p", "a cat")])
    drawn = ReactionDelta("e1", "p", impressions=1, at=world.clock.now())
    world.store.add_reactions("post-reactions", [drawn], drawn={"e1": 0.5})  # and then the process died
    assert world.store.next_jobs() == []
    keeper(world).measure()
    assert [(job.kind, job.sample_rate) for job in world.store.next_jobs()] == [("sample", 0.5)]

"""What a challenger says is kept with the decision, counted, and changes nothing."""

import msgspec
import pytest

from core.moderation import ChallengerScores, PostScores, PostToScore, ScoreFailure
from monitoring import catalogue as metrics
from storage.moderation.teaching import Teaching
from streams.agents.moderate_posts import PostModerator
from tests.fakes.moderator import FakeModerator
from tests.unit.streams.moderation.world import World


class Challenged(FakeModerator):
    """Beside it scores a challenger that says of hate what `said` has for the post."""

    def __init__(self, said: dict[str, float]) -> None:
        super().__init__()
        self.said = said

    def _score(self, post: PostToScore, explain: bool) -> PostScores | ScoreFailure:
        found = super()._score(post, explain)
        if not isinstance(found, PostScores) or post.post_id not in self.said:
            return found
        scores = {**found.scores, "hate": self.said[post.post_id]}
        beside = ChallengerScores(model_version="moderation/next", scores=scores, took_s=0.002, beside_s=0.001)  # type: ignore[arg-type]
        return msgspec.structs.replace(found, challenger=beside)


def counted(world: World, outcome: str) -> float:
    return world.recorder.value(metrics.MODERATION_SHADOW, outcome=outcome)


@pytest.fixture
def agent(world: World) -> PostModerator:
    said = {"same": 0.02, "stricter": 0.999, "milder": 0.01}
    world.judges._moderator = world.moderator = Challenged(said)
    return PostModerator(world.store, world.judges)


async def test_a_challenger_decides_nothing_and_its_disagreement_is_counted(world: World, agent: PostModerator) -> None:
    await agent([world.written("same", "a cat"), world.written("stricter", "a cat"), world.written("alone", "a cat")])
    await agent([world.written("milder", "hate .999")])
    assert [world.action(one) for one in ("same", "stricter", "alone", "milder")] == [
        "allow",
        "allow",
        "allow",
        "enforce",
    ]
    assert [counted(world, outcome) for outcome in ("same", "stricter", "milder")] == [1, 1, 1]


async def test_what_it_said_is_kept_with_the_decision_beside_what_was_known(world: World, agent: PostModerator) -> None:
    await agent([world.written("stricter", "a cat"), world.written("alone", "a cat")])
    looks = Teaching(world.catalogue.database).first_looks(["stricter", "alone", "unknown"])
    assert set(looks) == {"stricter", "alone"}
    said = looks["stricter"].told.challenger
    assert said is not None
    assert (said.model_version, said.scores["hate"], said.took_s) == ("moderation/next", 0.999, 0.002)
    assert looks["stricter"].scores["hate"] == 0.01
    assert looks["alone"].told.challenger is None
    assert looks["alone"].told.author is not None
    assert looks["alone"].told.reactions is not None


async def test_a_post_that_could_not_be_scored_has_nothing_to_compare(world: World, agent: PostModerator) -> None:
    world.moderator.broken.add("same")
    await agent([world.written("same", "a cat")])
    assert world.action("same") == "review"
    assert [counted(world, outcome) for outcome in ("same", "stricter", "milder")] == [0, 0, 0]

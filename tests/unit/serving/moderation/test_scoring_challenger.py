"""A challenger beside the champion: timed, and no reason to leave a post without scores."""

from collections.abc import Sequence

import pytest

from core.errors import InvalidInput
from core.moderation import PostScores
from models.moderation.features import PostFeatures
from tests.unit.serving.moderation.test_scorer import WordModel, World


class Broken(WordModel):
    version = "moderation/broken"

    def judge(self, posts: Sequence[PostFeatures]) -> list[object]:  # type: ignore[override]
        raise InvalidInput("a vector does not fit")


@pytest.fixture
def world() -> World:
    return World()


async def test_both_are_timed_for_each_post(world: World) -> None:
    world.models.challenger = WordModel()
    answer = await world.one("I will kill you")
    assert isinstance(answer, PostScores)
    assert answer.challenger is not None
    assert answer.challenger.took_s is not None and answer.challenger.took_s > 0
    assert answer.challenger.beside_s is not None and answer.challenger.beside_s > 0


async def test_a_second_look_for_evidence_asks_no_challenger(world: World) -> None:
    world.models.challenger = challenger = WordModel()
    await world.one("I will kill you, says the letter", explain=True)
    assert challenger.seen == []
    await world.one("I will kill you, says the letter")
    assert len(challenger.seen) == 1


async def test_a_challenger_that_fails_leaves_the_post_scored(world: World) -> None:
    world.models.challenger = Broken()
    answer = await world.one("I will kill you")
    assert isinstance(answer, PostScores)
    assert answer.scores["violence"] == 0.9
    assert answer.challenger is None


async def test_without_a_challenger_nothing_is_compared(world: World) -> None:
    answer = await world.one("I will kill you")
    assert isinstance(answer, PostScores)
    assert answer.challenger is None

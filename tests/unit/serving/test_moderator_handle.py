"""The moderator over a handle that may not be there yet."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import Unavailable
from core.moderation import PostScores, PostToScore
from models.moderation_service import MAX_POSTS_PER_CALL
from serving.moderation.handle import HandleModerator


class Method:
    """Stands for a method of a Serve handle: remembers calls, answers like the service would."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def remote(self, posts: list[PostToScore], **_: Any) -> Any:
        self.calls.append(len(posts))

        async def answer() -> list[PostScores]:
            return [PostScores(post_id=one.post_id, scores={"hate": 0.1}, model_version="m") for one in posts]

        return answer()


class Handle:
    def __init__(self) -> None:
        self.score = Method()


def some(number: int) -> list[PostToScore]:
    return [PostToScore(post_id=f"post-{n}", posted_at=datetime.now(UTC)) for n in range(number)]


async def test_until_it_is_deployed_the_moderator_is_unavailable_and_then_it_is_found_once() -> None:
    found: list[Handle] = []
    looked = 0

    def find() -> Any:
        nonlocal looked
        looked += 1
        if not found:
            raise KeyError("moderator does not exist")
        return found[0]

    moderator = HandleModerator(find)
    with pytest.raises(Unavailable, match="not deployed"):
        await moderator.score(some(1))
    found.append(Handle())
    for _ in range(3):
        assert len(await moderator.score(some(2))) == 2
    assert looked == 2


async def test_long_lists_are_asked_about_in_several_calls_in_order() -> None:
    handle = Handle()
    posts = some(MAX_POSTS_PER_CALL + 3)
    answers = await HandleModerator(lambda: handle).score(posts)  # type: ignore[arg-type, return-value]
    assert handle.score.calls == [MAX_POSTS_PER_CALL, 3]
    assert [one.post_id for one in answers] == [one.post_id for one in posts]

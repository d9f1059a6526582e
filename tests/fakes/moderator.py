"""A moderator that finds harm where the text names its class."""

from collections.abc import Sequence
from itertools import pairwise

from core.errors import Unavailable
from core.moderation import (
    HARM_CLASSES,
    Moderator,
    PostScores,
    PostToScore,
    ScoreFailure,
    TextEvidence,
)


class FakeModerator(Moderator):
    """`violence .9` in a text is a probability of .9; a class that is not named has .01.

    `away` makes every call Unavailable; posts in `broken` fail one by one; `phashes` and `missing` are by post.
    """

    def __init__(self) -> None:
        self.away = False
        self.broken: set[str] = set()
        self.phashes: dict[str, dict[str, list[str]]] = {}
        self.missing: dict[str, list[str]] = {}
        self.asked: list[PostToScore] = []
        self.version = "moderation/fake"

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        if self.away:
            raise Unavailable("the moderator is away")
        self.asked += posts
        return [self._score(post, explain) for post in posts]

    def _score(self, post: PostToScore, explain: bool) -> PostScores | ScoreFailure:
        if post.post_id in self.broken:
            return ScoreFailure(post_id=post.post_id, code="internal", message="it broke", transient=False)
        words = post.text.split()
        named = {word: float(value) for word, value in pairwise(words) if word in HARM_CLASSES}
        evidence = [
            TextEvidence(harm=harm, start=0, end=len(harm), quote=harm, weight=0.5)
            for harm in HARM_CLASSES
            if explain and harm in named
        ]
        return PostScores(
            post_id=post.post_id,
            scores={harm: named.get(harm, 0.01) for harm in HARM_CLASSES},
            signals={"words": float(len(words)), "profane_words": 1.0},
            language="en",
            phashes=self.phashes.get(post.post_id, {}),
            missing=self.missing.get(post.post_id, []),
            evidence=list(evidence),
            model_version=self.version,
        )

"""The moderation scoring service over HTTP: its wire format, and the client that is a `Moderator`."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from core.access.credentials import Headers, no_headers
from core.errors import Unavailable
from core.moderation import Moderator, PostScores, PostToScore, ScoreFailure
from models.service_client import ServiceClient

MODERATOR_PREFIX = "/models/moderator"
MAX_POSTS_PER_CALL = 64
MAX_TIMEOUT_S = 60.0


class ScoreRequest(Struct, kw_only=True, frozen=True):
    """Posts to be scored. `explain` also asks for evidence."""

    posts: Annotated[list[PostToScore], Meta(min_length=1, max_length=MAX_POSTS_PER_CALL)]
    explain: bool = False
    timeout_s: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)] = 5.0


class ScoreReply(Struct, kw_only=True, frozen=True):
    """One result for each post asked about, in that order."""

    results: list[PostScores | ScoreFailure]


_REPLY = msgspec.json.Decoder(ScoreReply)


class HttpModerator(Moderator):
    """Asks the moderator over HTTP. One object for a process; `aclose` it at the end."""

    def __init__(self, base_url: str, *, max_connections: int = 8, credentials: Headers = no_headers) -> None:
        """See `ServiceClient`."""
        self._client = ServiceClient(
            "the moderator", base_url, MODERATOR_PREFIX, max_connections=max_connections, credentials=credentials
        )

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """See the port. More than `MAX_POSTS_PER_CALL` posts are asked about in several calls, one after the other."""
        results: list[PostScores | ScoreFailure] = []
        for start in range(0, len(posts), MAX_POSTS_PER_CALL):
            some = list(posts[start : start + MAX_POSTS_PER_CALL])
            request = ScoreRequest(posts=some, explain=explain, timeout_s=min(timeout_s, MAX_TIMEOUT_S))
            results += self._read(await self._client.post("/score", msgspec.json.encode(request), timeout_s), some)
        return results

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _read(self, body: bytes, asked: Sequence[PostToScore]) -> list[PostScores | ScoreFailure]:
        try:
            results = _REPLY.decode(body).results
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self._client.url} does not answer like a moderator: {error}") from error
        if [one.post_id for one in results] != [one.post_id for one in asked]:
            raise Unavailable(f"the moderator answered about {len(results)} posts, not about the {len(asked)} asked")
        return results

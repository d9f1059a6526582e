"""The moderator over a Ray Serve handle."""

import asyncio
from collections.abc import Callable, Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from core.errors import Unavailable
from core.moderation import Moderator, PostScores, PostToScore, ScoreFailure
from models.moderation_service import MAX_POSTS_PER_CALL
from monitoring.logs import current_trace_id
from monitoring.tracing import NO_TRACING, Tracer
from serving.handle_calls import answer_of

_NOUN = "the moderator"


class HandleModerator(Moderator):
    """Asks a `ModeratorService` deployment of the same Ray cluster."""

    def __init__(self, find: Callable[[], DeploymentHandle], tracer: Tracer = NO_TRACING) -> None:
        """`find` returns the handle, or raises KeyError while nothing of that name is deployed: it may come later."""
        self._find = find
        self._handle: DeploymentHandle | None = None
        self._tracer = tracer

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """See the port. Long lists are asked about in several calls, one after the other, each with the time-out."""
        results: list[PostScores | ScoreFailure] = []
        for start in range(0, len(posts), MAX_POSTS_PER_CALL):
            response = (await self._found()).score.remote(
                list(posts[start : start + MAX_POSTS_PER_CALL]),
                explain=explain,
                timeout_s=timeout_s,
                trace_id=current_trace_id(),
                **self._tracer.headers(),
            )
            results += await answer_of(response, timeout_s, _NOUN)
        return results

    async def describe(self) -> dict[str, str]:
        """Return the versions of the models that score now. Raises Unavailable."""
        versions: dict[str, str] = await answer_of((await self._found()).describe.remote(), 10.0, _NOUN)
        return versions

    async def _found(self) -> DeploymentHandle:
        if self._handle is None:
            try:
                self._handle = await asyncio.to_thread(self._find)  # it asks the controller, and waits for it
            except (KeyError, RayServeException, RayError) as error:
                raise Unavailable(f"{_NOUN} is not deployed (yet): {error}") from error
        return self._handle

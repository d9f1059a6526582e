"""The moderator over a Ray Serve handle."""

from collections.abc import Sequence

from ray.serve.handle import DeploymentHandle

from core.moderation import Moderator, PostScores, PostToScore, ScoreFailure
from models.moderation_service import MAX_POSTS_PER_CALL
from monitoring.logs import current_trace_id
from monitoring.tracing import NO_TRACING, Tracer
from serving.handle_calls import answer_of

_NOUN = "the moderator"


class HandleModerator(Moderator):
    """Asks a `ModeratorService` deployment of the same Ray cluster."""

    def __init__(self, handle: DeploymentHandle, tracer: Tracer = NO_TRACING) -> None:
        self._handle = handle
        self._tracer = tracer

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """See the port. Long lists are asked about in several calls, one after the other, each with the time-out."""
        results: list[PostScores | ScoreFailure] = []
        for start in range(0, len(posts), MAX_POSTS_PER_CALL):
            response = self._handle.score.remote(
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
        versions: dict[str, str] = await answer_of(self._handle.describe.remote(), 10.0, _NOUN)
        return versions

"""The moderator as a service: a plain class that Ray Serve deploys, and that any ASGI server can run.

It looks at text itself and asks the image encoder about media. Everything alive is opened in the constructor, in the
process that serves; what is pickled on the way there is the settings and the name of a function.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from core.access.roles import Role
from core.clock import SystemClock
from core.errors import InvalidInput, Overloaded
from core.moderation import Moderator, PostScores, PostToScore, ScoreFailure
from core.ports import EmbeddingService
from core.settings import Settings
from models.moderation_service import MAX_POSTS_PER_CALL, ScoreReply, ScoreRequest
from monitoring.exposition import MetricsPort
from monitoring.logs import in_trace
from monitoring.recorder import Recorder
from monitoring.tracing import Tracer, open_tracer
from serving.access import EVERYBODY, open_door
from serving.replica_http import SERVICES, WATCHERS, Routes, answer_request, read_body, while_connected
from serving.replica_ports import bind_replica_ports_here

if TYPE_CHECKING:
    from serving.moderation.scorer import PostScorer

_log = structlog.get_logger(__name__)
_MAX_JSON_BYTES = 8 * 1024 * 1024  # 64 posts of 20,000 characters, with comments
_MAX_POSTS = 256  # in the house: four full calls

#: Opens what scores posts: settings, the image encoder, and where to count.
OpenScorer = Callable[[Settings, EmbeddingService, Recorder], "PostScorer"]


def open_scorer(settings: Settings, embedding: EmbeddingService, recorder: Recorder) -> "PostScorer":
    """Open the text encoder and the models that the settings name."""
    from models.drift.monitor import Limits
    from models.moderation.wording import profane_words_of
    from models.registry.packaged import open_registry
    from models.text.load import load_text_encoder
    from serving.moderation.drift import PostDrift, references_in
    from serving.moderation.harm_models import HarmModels
    from serving.moderation.media import MediaLooks
    from serving.moderation.scorer import PostScorer
    from serving.moderation.texts import TextVectors

    home, clock, watched = settings.home.resolve(), SystemClock(), settings.monitoring
    encoder = load_text_encoder(settings.text_encoder, home)
    registry = open_registry(home)
    models = HarmModels(registry, settings.moderation, recorder, clock, text_encoder=encoder.version)
    models.look()
    models.start()
    limits = Limits(window_s=watched.drift_window_s, first=watched.drift_first_rows)
    drift = PostDrift(references_in(registry), recorder, clock, limits, keep=home / "drift")
    texts, media = TextVectors(encoder, recorder), MediaLooks(embedding)
    return PostScorer(models, texts, media, profane_words_of(home), recorder, drift)


class ModeratorService(Moderator):
    """Scores posts; over HTTP, and by method calls over a deployment handle."""

    def __init__(self, settings: Settings, encoder_app: str | None, open_scorer: OpenScorer = open_scorer) -> None:
        """Load the models. `encoder_app` is the Serve application of the image encoder; None: media is not looked at.

        Raises ConfigurationError, NotFound or IntegrityError when a model, a package or the keys are missing.
        """
        bind_replica_ports_here()
        self._door = open_door(settings, SystemClock())
        self._recorder = Recorder(process_metrics=True)
        self._tracer = open_tracer(settings.tracing, "moderator", settings.home.resolve())
        self._scorer = open_scorer(settings, _embedding(encoder_app, self._tracer), self._recorder)
        self._admitted = 0
        watched = settings.monitoring
        self._metrics_port = MetricsPort(self._recorder, watched.host, watched.moderator_metrics_port)
        self.routes: Routes = {
            ("POST", "score"): (SERVICES, self._post_score),
            ("GET", "healthz"): (EVERYBODY, self._get_health),
            ("GET", "metrics"): (WATCHERS, self._get_metrics),
            ("GET", "drift"): (WATCHERS, self._get_drift),
            ("POST", "drift"): (frozenset({Role.admin}), self._accept_drift),
        }

    async def score(
        self,
        posts: Sequence[PostToScore],
        *,
        explain: bool = False,
        timeout_s: float = 5.0,
        trace_id: str | None = None,
        traceparent: str | None = None,
    ) -> list[PostScores | ScoreFailure]:
        """See the port. `trace_id` is for the log; `traceparent`: the caller's trace, of which this becomes a part."""
        if len(posts) > MAX_POSTS_PER_CALL:
            raise InvalidInput(f"{len(posts)} posts in one call; {MAX_POSTS_PER_CALL} are the most")
        if self._admitted and self._admitted + len(posts) > _MAX_POSTS:
            raise Overloaded(f"{self._admitted} posts are being scored; {_MAX_POSTS} are the most")
        self._admitted += len(posts)
        try:
            with (
                in_trace(trace_id),
                self._tracer.span("moderate", {"riverlight.posts": len(posts)}, parent=traceparent, kind="server"),
            ):
                return await self._scorer.score(posts, explain=explain, timeout_s=timeout_s)
        finally:
            self._admitted -= len(posts)

    async def describe(self) -> dict[str, str]:
        """Return the versions of the models that score now."""
        return self._scorer.versions()

    def check_health(self) -> None:
        """Raise Unavailable when the replica makes no progress and should be replaced."""
        self._scorer.check_health()

    def close(self) -> None:
        """Fail what is under way. Closing again changes nothing."""
        self._scorer.close()
        self._tracer.close()
        self._metrics_port.close()

    def __del__(self) -> None:  # how Ray Serve tells a replica that it ends
        if hasattr(self, "routes"):
            self.close()

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await answer_request(request, noun="the moderator", door=self._door, routes=self.routes)

    async def _post_score(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await read_body(request, _MAX_JSON_BYTES), type=ScoreRequest)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the body is not a request to score posts: {error}") from error
        work = self.score(
            asked.posts,
            explain=asked.explain,
            timeout_s=asked.timeout_s,
            traceparent=request.headers.get("traceparent"),
        )
        reply = ScoreReply(results=await while_connected(request, work))
        return Response(msgspec.json.encode(reply), media_type="application/json")

    async def _get_health(self, request: Request) -> Response:
        self.check_health()
        health = {"status": "ok", "admitted": self._admitted, **await self.describe()}
        return Response(msgspec.json.encode(health), media_type="application/json")

    async def _get_metrics(self, request: Request) -> Response:
        body, content_type = self._recorder.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def _get_drift(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self._scorer.drift()), media_type="application/json")

    async def _accept_drift(self, request: Request) -> Response:
        status = await asyncio.to_thread(self._scorer.accept_drift)
        return Response(msgspec.json.encode(status), media_type="application/json")


def _embedding(encoder_app: str | None, tracer: Tracer) -> EmbeddingService:
    if encoder_app is None:
        from serving.moderation.media import NoMedia

        return NoMedia()
    from ray import serve

    from serving.handles import HandleEmbeddingService

    return HandleEmbeddingService(serve.get_deployment_handle(encoder_app, app_name=encoder_app), tracer)

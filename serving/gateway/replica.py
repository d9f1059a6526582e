"""The gateway as a Ray Serve deployment: a plain class that opens its collaborators where it runs."""

import asyncio
import time

import structlog
from starlette.types import ASGIApp

from core.errors import Unavailable
from core.settings import Settings
from monitoring.exposition import MetricsPort
from monitoring.logs import configure_logs
from serving.garbage import spare_what_lives

_log = structlog.get_logger(__name__)

_ENCODER_WITHIN_S = 180.0  # loading a model from a slow disk, and torch with it
_LOOP_STUCK_AFTER_S = 10.0


class Gateway:
    """One replica. Its constructor returns when it can answer, or at least say why it cannot yet (`/readyz`)."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, encoder_app: str, moderator_app: str
    ) -> None:
        """Open everything. The applications are those of the image encoder and of the moderator, by their names."""
        configure_logs("gateway", settings.monitoring.log_level, settings.monitoring.log_format)
        # Here and not above, so that whoever deploys this class does not import what only a replica needs.
        from ray import serve

        from monitoring.tracing import open_tracer
        from serving.gateway.dependencies import open_gateway
        from serving.handles import HandleEmbeddingService
        from serving.moderation.handle import HandleModerator
        from serving.replica_ports import bind_replica_ports_here

        bind_replica_ports_here()

        handle = serve.get_deployment_handle(encoder_app, app_name=encoder_app)
        tracer = open_tracer(settings.tracing, "gateway", settings.home.resolve())
        self._embedding = HandleEmbeddingService(handle, tracer)
        version, dim = await self._encoder()
        self._deps = open_gateway(
            settings,
            self._embedding,
            dim=dim,
            model_version=version,
            moderator=HandleModerator(
                lambda: serve.get_deployment_handle(moderator_app, app_name=moderator_app), tracer
            ),
            tracer=tracer,
        )
        watched = settings.monitoring
        self._metrics_port = MetricsPort(self._deps.recorder, watched.host, watched.gateway_metrics_port)
        self._tick = time.monotonic()
        self._tasks = [asyncio.create_task(self._keep_ticking())]
        if self._deps.moderation is not None:
            self._tasks.append(asyncio.create_task(self._deps.moderation.keep_up()))
        spare_what_lives()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        from serving.gateway.api import create_api

        return create_api(self._deps)

    def check_health(self) -> None:
        """Raise Unavailable when the replica makes no progress and should be replaced."""
        if time.monotonic() - self._tick > _LOOP_STUCK_AFTER_S:
            raise Unavailable("the event loop has not turned for a while")
        if not self._deps.follower.alive():
            raise Unavailable("the index follower has not moved for a while")
        if not self._deps.restrictions_follower.alive():
            raise Unavailable("the follower of verdicts has not moved for a while")

    async def __del__(self) -> None:  # how Ray Serve tells a replica that it ends
        if hasattr(self, "_tasks"):
            for task in self._tasks:
                task.cancel()
            await asyncio.to_thread(self._metrics_port.close)
            await self._deps.close()

    async def _encoder(self) -> tuple[str, int]:
        """Return the encoder's model version and dimension, as soon as it is up."""
        deadline = time.monotonic() + _ENCODER_WITHIN_S
        while True:
            try:
                return await self._embedding.describe()
            except Unavailable as error:
                if time.monotonic() > deadline:
                    raise
                _log.info("waiting_for_encoder", error=str(error))
                await asyncio.sleep(0.2)

    async def _keep_ticking(self) -> None:
        while True:
            self._tick = time.monotonic()
            await asyncio.sleep(0.5)

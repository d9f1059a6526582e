"""The gateway under plain uvicorn, before a cheap image encoder in a process of its own: what goals need of Ray Serve.

Everything but model and serving of the encoder is what Ray Serve runs. `python -m tests.chaos.gateway_process`; with
`--moderator` the real moderator is there, too, in a process of its own, which is started again when it ends; with
`--slow-recommender` the recommender can be in trouble.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from core.settings import Settings, child_environment, load_settings
from infra.chaos.slow_recommender import plant
from infra.chaos.stage import TROUBLED
from infra.ports import free_port
from models.embedding_service import ENCODER_PREFIX, HttpEmbeddingService
from models.moderation_service import MODERATOR_PREFIX, HttpModerator
from serving.gateway.api import create_api
from serving.gateway.dependencies import open_gateway
from tests.chaos.cheap_encoder import DIM, VERSION

REPLICA = "ServeReplica:image-encoder"  # how a goal knows the process that encodes
MODERATOR_REPLICA = "ServeReplica:moderator"


def start_child(module: str, title: str, port: int) -> subprocess.Popen[bytes]:
    """Start a service; it ends with this process, whose end closes its standard input."""
    command = [sys.executable, "-m", module, title]
    return subprocess.Popen(command, env=child_environment(RIVERLIGHT_HTTP__PORT=str(port)), stdin=subprocess.PIPE)


def keep_running(start: Callable[[], subprocess.Popen[bytes]]) -> None:
    """Start a child, and start it again whenever it ends, as Ray Serve replaces a replica."""
    while True:
        start().wait()
        time.sleep(0.5)


def passing_on(url: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that hands requests on, as the proxy of Ray Serve does."""
    client = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)

    async def pass_on(request: Request) -> Response:
        try:
            answer = await client.post(request.url.path, content=await request.body())
        except httpx.TransportError as error:
            return Response(str(error), 503)
        return Response(answer.content, answer.status_code)

    return pass_on


def create_app(settings: Settings, encoder_url: str, moderator_url: str | None = None) -> Starlette:
    """Return the gateway, with the ways to the encoder and to the moderator (if there is one) beside it."""
    moderator = HttpModerator(moderator_url) if moderator_url is not None else None
    embedding = HttpEmbeddingService(encoder_url)
    deps = open_gateway(settings, embedding, dim=DIM, model_version=VERSION, moderator=moderator)
    routes: list[BaseRoute] = [Route(ENCODER_PREFIX + "/encode", passing_on(encoder_url), methods=["POST"])]
    if moderator_url is not None:
        routes.append(Route(MODERATOR_PREFIX + "/score", passing_on(moderator_url), methods=["POST"]))
    return Starlette(routes=[*routes, Mount("/", create_api(deps))])


if __name__ == "__main__":
    settings = load_settings()
    if TROUBLED in sys.argv:
        plant(settings.home)
    encoder_port, moderator_port = free_port(), free_port()
    start_child("tests.chaos.cheap_encoder", REPLICA, encoder_port)
    moderator_url = f"http://127.0.0.1:{moderator_port}" if "--moderator" in sys.argv else None
    if moderator_url is not None:
        start = partial(start_child, "tests.chaos.moderator_process", MODERATOR_REPLICA, moderator_port)
        threading.Thread(target=keep_running, args=(start,), daemon=True).start()
    app = create_app(settings, f"http://127.0.0.1:{encoder_port}", moderator_url)
    uvicorn.run(app, host=settings.http.host, port=settings.http.port, log_level="warning")

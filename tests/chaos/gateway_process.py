"""The gateway under plain uvicorn, before a cheap image encoder in a process of its own: what goals need of Ray Serve.

Everything but model and serving of the encoder is what Ray Serve runs. `python -m tests.chaos.gateway_process`
"""

import subprocess
import sys
from collections.abc import Awaitable, Callable

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from core.settings import Settings, child_environment, load_settings
from infra.ports import free_port
from models.embedding_service import ENCODER_PREFIX, HttpEmbeddingService
from serving.gateway.api import create_api
from serving.gateway.dependencies import open_gateway
from tests.chaos.cheap_encoder import DIM, VERSION

REPLICA = "ServeReplica:image-encoder"  # how a goal knows the process that encodes


def start_encoder(port: int) -> subprocess.Popen[bytes]:
    """Start the encoder; it ends with this process, whose end closes its standard input."""
    command = [sys.executable, "-m", "tests.chaos.cheap_encoder", REPLICA]
    return subprocess.Popen(command, env=child_environment(RIVERLIGHT_HTTP__PORT=str(port)), stdin=subprocess.PIPE)


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


def create_app(settings: Settings, encoder_url: str) -> Starlette:
    """Return the gateway, with the way to the encoder beside it."""
    deps = open_gateway(settings, HttpEmbeddingService(encoder_url), dim=DIM, model_version=VERSION)
    encode = Route(ENCODER_PREFIX + "/encode", passing_on(encoder_url), methods=["POST"])
    return Starlette(routes=[encode, Mount("/", create_api(deps))])


if __name__ == "__main__":
    settings = load_settings()
    encoder_port = free_port()
    start_encoder(encoder_port)
    app = create_app(settings, f"http://127.0.0.1:{encoder_port}")
    uvicorn.run(app, host=settings.http.host, port=settings.http.port, log_level="warning")

"""The real moderator under plain uvicorn, where Ray Serve would run it. It looks at no media.

`python -m tests.chaos.moderator_process ServeReplica:moderator`, with the port of the settings.
"""

import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.settings import Settings, load_settings
from models.moderation_service import MODERATOR_PREFIX
from serving.moderator import ModeratorService
from tests.chaos.cheap_encoder import end_with_parent


def create_app(settings: Settings) -> Starlette:
    """Return the moderator as an application; its models are loaded when it starts."""
    services: list[ModeratorService] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        services.append(ModeratorService(settings, None))
        yield
        services.pop().close()

    async def answer(request: Request) -> Response:
        return await services[0](request)

    return Starlette(routes=[Route(f"{MODERATOR_PREFIX}/{{name}}", answer, methods=["GET", "POST"])], lifespan=lifespan)


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a child of the gateway's process
        threading.Thread(target=end_with_parent, daemon=True).start()
    settings = load_settings()
    uvicorn.run(create_app(settings), host=settings.http.host, port=settings.http.port, log_level="warning")

"""`create_api`: the FastAPI application of the gateway."""

from typing import Any

from fastapi import FastAPI

from serving.gateway.dependencies import GatewayDeps
from serving.gateway.entrance import Entrance
from serving.gateway.middleware import GatewayMiddleware, RequestLimits
from serving.gateway.problems import CONTENT_TYPE, install_handlers
from serving.gateway.routes import (
    console,
    events,
    features,
    health,
    index,
    items,
    media,
    moderation,
    recommendations,
    restrictions,
    review,
    review_console,
    search,
    session,
    traces,
)
from serving.gateway.schemas import ProblemDocument

_NOUNS = (
    *(media, events, search, recommendations, items, traces, features, index, restrictions, moderation, review),
    *(health, session, review_console, console),  # the console last: it takes every name
)

_DESCRIPTION = """Events in, answers out.

Errors are problem documents (RFC 9457) with a stable `code`. A request that does not validate is a 400 whose `errors`
name the fields. Where access is not open, every call shows a token (`Authorization: Bearer`): 401 without a valid one,
403 without the role. 429 and 503 carry `Retry-After`. Every answer carries `X-Trace-Id` and `Server-Timing`; a W3C
`traceparent` that is sent is continued.
"""


def create_api(deps: GatewayDeps) -> FastAPI:
    """Return the application over opened collaborators. It opens and closes nothing itself."""
    api = FastAPI(
        title="Riverlight",
        version="1",
        description=_DESCRIPTION,
        # Its page runs scripts from elsewhere: not where a browser holds a token.
        docs_url="/docs" if deps.door.is_open else None,
        redoc_url=None,
        responses={"default": {"model": ProblemDocument, "description": "What went wrong"}},
    )
    api.state.deps = deps
    install_handlers(api)
    api.state.routes = [*api.routes, *(route for noun in _NOUNS for route in noun.router.routes)]
    api.add_middleware(
        GatewayMiddleware,
        entrance=Entrance(api.state.routes, deps.door, deps.rates, deps.http.trusted_proxies),
        limits=RequestLimits(
            timeout_s=deps.http.request_timeout_s,
            max_body_bytes=deps.http.max_body_bytes,
            max_upload_bytes=deps.http.max_upload_bytes,
            max_ongoing=deps.serving.max_ongoing_requests,
            max_queued=deps.serving.max_queued_requests,
            max_receiving=deps.serving.max_receiving_requests,
        ),
        recorder=deps.recorder,
        tracer=deps.tracer,
    )
    for noun in _NOUNS:
        api.include_router(noun.router)
    _describe_errors(api)
    return api


def _describe_errors(api: FastAPI) -> None:
    """Make the OpenAPI document say what errors look like: problem documents, and no 422."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = generate()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
                    for status, response in operation["responses"].items():
                        if status == "default" or status >= "400":
                            _as_problem(response)
            for unused in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(unused, None)
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _as_problem(response: dict[str, Any]) -> None:
    # FastAPI documents every answer of a route in the media type of its success, text/plain included.
    [content] = response["content"].values()
    response["content"] = {CONTENT_TYPE: content}

"""The HTTP side of a model service: a plain ASGI-free class that Ray Serve calls with a request.

What such a service is asked over HTTP is a few calls by its own processes; people and applications ask the gateway.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core.access.roles import Role
from core.errors import Forbidden, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from monitoring.logs import in_trace
from serving.access import EVERYBODY, Allowed, Door, permit
from serving.exchange import Exchange
from serving.gateway.problems import problem_of

SERVICES = frozenset({Role.service})
WATCHERS = frozenset({Role.service, Role.admin})

#: By method and last part of the path: who may call, and what answers. Who may call what is part of the route: there
#: is none without it.
Routes = Mapping[tuple[str, str], tuple[Allowed, Callable[[Request], Coroutine[Any, Any, Response]]]]

_log = structlog.get_logger(__name__)
_TRACE_ID = re.compile("[0-9a-f]{32}")
_Answer = TypeVar("_Answer")


async def answer_request(request: Request, *, noun: str, door: Door, routes: Routes) -> Response:
    """Answer one HTTP request; the last part of its path names the call, whatever the prefix. Never raises.

    `noun` names the service in messages.
    """
    trace_id = _trace_id_of(request)
    with in_trace(trace_id):
        try:
            name = request.url.path.rstrip("/").rpartition("/")[2]
            allowed, answer = routes.get((request.method, name), (SERVICES, None))
            if allowed is not EVERYBODY:
                permit(door.identify(request.method, request.headers), allowed)
            if answer is None:
                raise NotFound(f"{noun} has no {request.method} {request.url.path}")
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            if not isinstance(error, InvalidInput | Unavailable):
                _log.error("request_failed", path=request.url.path, trace_id=trace_id, exc_info=error)
            response = problem_of(error).response(trace_id)
            if isinstance(error, TooLarge | Unauthenticated | Forbidden):
                # The rest of the body is not read: some clients would send for ever.
                response.headers["connection"] = "close"
            return response


def _trace_id_of(request: Request) -> str:
    """Return the trace the caller works in, whether or not it is recorded as spans, or a new one."""
    exchange, named = Exchange(request.headers.get("traceparent")), request.headers.get("x-trace-id", "")
    return named if not exchange.continued and _TRACE_ID.fullmatch(named) else exchange.trace_id


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises TooLarge as soon as it is known to be larger than `limit` bytes."""
    too_large = TooLarge(f"the body is larger than the {limit} bytes allowed")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Return what `work` returns, or cancel it when the client goes away first: nobody would read it."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

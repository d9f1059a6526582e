"""What happens around every request, as pure ASGI: no answer, errors included, leaves without it.

Outside in: a trace id, `Server-Timing`, security headers and metrics; then 429 when the queue is full; then the
entrance (401, 403, 404, 405, 429); then a deadline or 504 (408 when it is the body that did not arrive); then the first
64 KiB of the body, which is counted as it streams in, or 413; then a place in the queue. What a client sends slowly is
waited for without a place.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidInput, Overloaded, Unavailable
from monitoring.catalogue import REQUEST_SECONDS, REQUESTS_SHED
from monitoring.logs import in_trace
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Span, Tracer
from serving.exchange import Exchange
from serving.gateway.body import BodyGivenUp, CountedBody
from serving.gateway.entrance import Entrance
from serving.gateway.places import Places
from serving.gateway.problems import Problem, problem_of

_log = structlog.get_logger(__name__)

MULTIPART_OVERHEAD_BYTES = 64 * 1024  # boundaries, part headers and the form fields beside the file
_UPLOAD_PATHS = frozenset({"/v1/media", "/v1/search/images"})
_CLIENT_GONE = 499  # in metrics only: nobody is there to be answered
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
_ALWAYS_ANSWERED = frozenset({"/livez", "/readyz", "/metrics"})  # what watches an overloaded gateway is not shed
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class RequestLimits:
    """How much one request may ask for, and how many may ask at once."""

    timeout_s: float
    max_body_bytes: int
    max_upload_bytes: int
    max_ongoing: int
    max_queued: int
    max_receiving: int

    def body_bytes(self, path: str, content_type: str) -> int:
        """Return the largest body for a path: media only where media is expected, and only as multipart."""
        if path in _UPLOAD_PATHS and content_type.lower().startswith("multipart/form-data"):
            return self.max_upload_bytes + MULTIPART_OVERHEAD_BYTES
        return self.max_body_bytes


class GatewayMiddleware:
    """Wraps the application; see the module."""

    def __init__(
        self, app: ASGIApp, *, entrance: Entrance, limits: RequestLimits, recorder: Recorder, tracer: Tracer
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._entrance = entrance
        self._limits = limits
        self._recorder = recorder
        self._places = Places(limits.max_ongoing, limits.max_queued, limits.max_receiving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = Headers(scope=scope).get("traceparent")
        tracer = self._tracer if scope["path"] not in _ALWAYS_ANSWERED else NO_TRACING  # asked every few seconds
        with tracer.span("request", parent=received, kind="server") as span:
            exchange = Exchange(received, tracer)
            exchange.become(span.traceparent)
            with in_trace(exchange.trace_id):
                await self._exchange(exchange, scope, receive, send, span)

    async def _exchange(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        scope.setdefault("state", {})["exchange"] = exchange
        answer = _Answer(send, exchange)
        limit = self._limits.body_bytes(scope["path"], Headers(scope=scope).get("content-type", ""))
        body = CountedBody(scope, receive, limit, self._places)
        problem: Problem | None = None
        try:
            problem = await self._admit(scope, body, answer)
        except Exception as error:  # nothing may leave without being a problem document
            _log.error("request_failed", route=_route_of(scope), trace_id=exchange.trace_id, exc_info=error)
            problem = problem_of(error)
        if problem is not None and not answer.started:
            await answer.send_problem(problem, more_to_read=body.problem is not None)
        route, method = _route_of(scope), _method_of(scope)
        self._recorder.observe(
            REQUEST_SECONDS, exchange.elapsed_s, route=route, method=method, status=str(answer.status)
        )
        span.rename(f"{method} {route}")
        span.set(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": answer.status,
                "riverlight.trace_id": exchange.trace_id,  # of the answer: a new one where the caller's has one already
            }
        )
        if answer.unfinished:
            await body.linger()
            await answer.finish()

    async def _admit(self, scope: Scope, body: CountedBody, answer: "_Answer") -> Problem | None:
        """Answer the request when its turn comes; return the problem when it never does."""
        always = scope["path"] in _ALWAYS_ANSWERED
        if not always and self._places.full:
            return self._shed(scope)  # before anything is looked at: what is refused must cost next to nothing
        try:
            scope["state"]["caller"] = await self._entrance.admit(scope)
        except (InvalidInput, Unavailable, HTTPException) as error:
            answer.close_connection = "content-length" in Headers(scope=scope) or scope["method"] not in _WITHOUT_BODY
            return problem_of(error)
        problem: Problem | None = None
        answer.hold = lambda: body.problem is not None
        try:
            async with asyncio.timeout(self._limits.timeout_s):  # for the client, a place and the answer together
                if always:
                    await self._app(scope, body, answer)
                else:
                    problem = await self._in_place(scope, body, answer)
        except BodyGivenUp:
            pass
        except TimeoutError:
            return self._too_late(scope, body, answer, always=always)
        if body.problem is not None:  # whatever the application made of the cut-off body, this is the answer
            answer.close_connection = True
            return problem_of(body.problem)
        return problem

    async def _in_place(self, scope: Scope, body: CountedBody, answer: "_Answer") -> Problem | None:
        await body.begin()
        if body.gone:
            answer.status = _CLIENT_GONE
            return None
        if self._places.full:  # again: entrance and client may have taken their time
            return self._shed(scope)
        async with self._places.taken() as body.place:
            await self._app(scope, body, answer)
        return None

    def _too_late(self, scope: Scope, body: CountedBody, answer: "_Answer", *, always: bool) -> Problem:
        within = f"within {self._limits.timeout_s:g} s"
        if body.slow:
            answer.close_connection = True
            return Problem(408, "slow-request", f"the body did not arrive {within}")
        if body.place is None and not always:
            return self._shed(scope)
        return problem_of(TimeoutError(f"no answer {within}; nothing is promised"))

    def _shed(self, scope: Scope) -> Problem:
        # The request has not been routed yet, so its label is one of the few paths that are expensive, or "other".
        self._recorder.count(REQUESTS_SHED, route=scope["path"] if scope["path"] in _UPLOAD_PATHS else "other")
        return problem_of(Overloaded("too many requests are waiting; send this one again later", retry_after_s=1.0))


class _Answer:
    """Sends the answer with the headers that every answer has."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self.started = False
        self.status = 0
        self.hold: Callable[[], bool] = lambda: False  # while true, the application's own answer is dropped
        self.close_connection = False
        self.unfinished = False  # everything is sent, and the connection open until `finish`

    async def __call__(self, message: Message) -> None:
        if self.hold() and not self.started:
            return
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-trace-id"] = self._exchange.trace_id
            headers["server-timing"] = self._exchange.server_timing()
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def send_problem(self, problem: Problem, *, more_to_read: bool) -> None:
        """Send a problem as the answer. `more_to_read`: of the request; `finish` then ends the answer."""
        self.hold = lambda: False
        headers = problem.all_headers()
        if self.close_connection:
            headers["connection"] = "close"  # the rest of the body is not read
        body = problem.body(self._exchange.trace_id)
        headers["content-length"] = str(len(body))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": raw})
        self.unfinished = more_to_read
        await self({"type": "http.response.body", "body": body, "more_body": more_to_read})

    async def finish(self) -> None:
        self.unfinished = False
        await self({"type": "http.response.body", "body": b""})


def _route_of(scope: Scope) -> str:
    """Return the route's template, never the path asked for: a metric label comes from a closed set."""
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _method_of(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"

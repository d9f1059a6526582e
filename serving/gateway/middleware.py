"""What happens around every request, as pure ASGI: no answer, errors included, leaves without it.

Outside in: a trace id, `Server-Timing`, security headers and metrics; then the entrance (401, 403, 404, 405, 429); then
a place in the queue or 429; then a deadline or 504; then a body that is counted as it streams in, or 413.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidInput, Overloaded, TooLarge, Unavailable
from monitoring.catalogue import REQUEST_SECONDS, REQUESTS_SHED
from monitoring.logs import in_trace
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Span, Tracer
from serving.exchange import Exchange
from serving.gateway.entrance import Entrance
from serving.gateway.problems import Problem, problem_of

_log = structlog.get_logger(__name__)

MULTIPART_OVERHEAD_BYTES = 64 * 1024  # boundaries, part headers and the form fields beside the file
_UPLOAD_PATHS = frozenset({"/v1/media", "/v1/search/images"})
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
        self._waiting = 0
        self._slots = asyncio.Semaphore(limits.max_ongoing)

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
        problem: Problem | None = None
        try:
            problem = await self._admit(scope, receive, answer)
        except Exception as error:  # nothing may leave without being a problem document
            _log.error("request_failed", path=scope["path"], trace_id=exchange.trace_id, exc_info=error)
            problem = problem_of(error)
        if problem is not None and not answer.started:
            await answer.send_problem(problem)
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

    async def _admit(self, scope: Scope, receive: Receive, answer: "_Answer") -> Problem | None:
        """Answer the request when its turn comes; return the problem when it never does."""
        try:
            await self._entrance.admit(scope)
        except (InvalidInput, Unavailable, HTTPException) as error:
            answer.close_connection = "content-length" in Headers(scope=scope) or scope["method"] not in _WITHOUT_BODY
            return problem_of(error)
        if scope["path"] in _ALWAYS_ANSWERED:
            return await self._answer(scope, receive, answer)
        if self._slots.locked() and self._waiting >= self._limits.max_queued:
            return self._shed(scope)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            return self._shed(scope)
        finally:
            self._waiting -= 1
        try:
            return await self._answer(scope, receive, answer)
        finally:
            self._slots.release()

    def _shed(self, scope: Scope) -> Problem:
        # The request has not been routed yet, so its label is one of the few paths that are expensive, or "other".
        self._recorder.count(REQUESTS_SHED, route=scope["path"] if scope["path"] in _UPLOAD_PATHS else "other")
        return problem_of(Overloaded("too many requests are waiting; send this one again later", retry_after_s=1.0))

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> Problem | None:
        limit = self._limits.body_bytes(scope["path"], Headers(scope=scope).get("content-type", ""))
        body = _CountedBody(receive, limit)
        answer.hold = lambda: body.too_large
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await self._app(scope, body, answer)
        except _BodyTooLarge:
            pass
        except TimeoutError:
            return problem_of(TimeoutError(f"no answer within {self._limits.timeout_s:g} s; nothing is promised"))
        if body.too_large:  # whatever the application made of the cut-off body, this is the answer
            answer.close_connection = True
            return problem_of(TooLarge(f"the body is larger than the {limit} bytes allowed here"))
        return None


class _BodyTooLarge(Exception):
    pass


class _CountedBody:
    """Receives a body and counts what really arrives: `Content-Length` can lie or be absent."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self.too_large = False

    async def __call__(self) -> Message:
        if self.too_large:
            raise _BodyTooLarge
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.too_large = True
                raise _BodyTooLarge
        return message


class _Answer:
    """Sends the answer with the headers that every answer has."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self.started = False
        self.status = 0
        self.hold: Callable[[], bool] = lambda: False  # while true, the application's own answer is dropped
        self.close_connection = False

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

    async def send_problem(self, problem: Problem) -> None:
        self.hold = lambda: False
        headers = problem.all_headers()
        if self.close_connection:
            headers["connection"] = "close"  # the rest of the body is not read
        body = problem.body(self._exchange.trace_id)
        headers["content-length"] = str(len(body))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _route_of(scope: Scope) -> str:
    """Return the route's template, never the path asked for: a metric label comes from a closed set."""
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _method_of(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"

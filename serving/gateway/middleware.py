"""What happens around every request, as pure ASGI: no answer, errors included, leaves without it.

Outside in: a trace id, `Server-Timing`, security headers and metrics; then 429 when the queue is full; then the
entrance (401, 403, 404, 405, 429); then a place in the queue; then a deadline or 504 (408 when it is the body that did
not arrive); then a body that is counted as it streams in, or 413. A request that waits for its client gives its place
to others meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

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
_PROMPT_S = 0.02  # a client that sends on within this keeps its place
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
        self._waiting = 0
        self._places = _Places(limits.max_ongoing, limits.max_receiving)

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
            _log.error("request_failed", route=_route_of(scope), trace_id=exchange.trace_id, exc_info=error)
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
        always = scope["path"] in _ALWAYS_ANSWERED
        if not always and self._full():
            return self._shed(scope)  # before anything is looked at: what is refused must cost next to nothing
        try:
            scope["state"]["caller"] = await self._entrance.admit(scope)
        except (InvalidInput, Unavailable, HTTPException) as error:
            answer.close_connection = "content-length" in Headers(scope=scope) or scope["method"] not in _WITHOUT_BODY
            return problem_of(error)
        deadline = asyncio.get_running_loop().time() + self._limits.timeout_s  # for waiting and answering together
        if always:
            return await self._answer(scope, receive, answer, deadline)
        if self._full():  # again: the entrance may have waited
            return self._shed(scope)
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                place = await self._places.take()
        except TimeoutError:
            return self._shed(scope)
        finally:
            self._waiting -= 1
        try:
            return await self._answer(scope, receive, answer, deadline, place)
        finally:
            place.leave()

    def _full(self) -> bool:
        return self._places.slots.locked() and self._waiting >= self._limits.max_queued

    def _shed(self, scope: Scope) -> Problem:
        # The request has not been routed yet, so its label is one of the few paths that are expensive, or "other".
        self._recorder.count(REQUESTS_SHED, route=scope["path"] if scope["path"] in _UPLOAD_PATHS else "other")
        return problem_of(Overloaded("too many requests are waiting; send this one again later", retry_after_s=1.0))

    async def _answer(
        self, scope: Scope, receive: Receive, answer: "_Answer", deadline: float, place: "_Place | None" = None
    ) -> Problem | None:
        limit = self._limits.body_bytes(scope["path"], Headers(scope=scope).get("content-type", ""))
        body = _CountedBody(receive, limit, place)
        answer.hold = lambda: body.problem is not None
        try:
            async with asyncio.timeout_at(deadline):
                await self._app(scope, body, answer)
        except _BodyGivenUp:
            pass
        except TimeoutError:
            if body.slow:
                answer.close_connection = True
                return Problem(408, "slow-request", f"the body did not arrive within {self._limits.timeout_s:g} s")
            return problem_of(TimeoutError(f"no answer within {self._limits.timeout_s:g} s; nothing is promised"))
        if body.problem is not None:  # whatever the application made of the cut-off body, this is the answer
            answer.close_connection = True
            return problem_of(body.problem)
        return None


class _Places:
    """The places of requests that are worked on, and the number of those that have stepped aside."""

    def __init__(self, number: int, max_aside: int) -> None:
        self.slots = asyncio.Semaphore(number)
        self._max_aside = max_aside
        self._aside = 0

    async def take(self) -> "_Place":
        await self.slots.acquire()
        return _Place(self)

    @contextmanager
    def stepping_aside(self) -> Iterator[None]:
        """Count one more aside while the block runs. Raises Overloaded when there are too many already."""
        if self._aside >= self._max_aside:
            raise Overloaded("too many requests are waiting for the rest of their bodies", retry_after_s=1.0)
        self._aside += 1
        try:
            yield
        finally:
            self._aside -= 1


class _Place:
    """One request's place. Who waits for a client does no work, and must not keep others from it."""

    def __init__(self, places: _Places) -> None:
        self._places = places
        self._held = True

    def leave(self) -> None:
        if self._held:
            self._held = False
            self._places.slots.release()

    async def aside(self, waiting: "asyncio.Task[Message]") -> None:
        """Leave the place until the task is done. Raises Overloaded when too many have done so already."""
        with self._places.stepping_aside():
            self.leave()
            await asyncio.wait({waiting})
        await self._places.slots.acquire()
        self._held = True


class _BodyGivenUp(Exception):
    pass


class _CountedBody:
    """Receives a body and counts what really arrives: `Content-Length` can lie or be absent."""

    def __init__(self, receive: Receive, limit: int, place: _Place | None) -> None:
        self._receive = receive
        self._limit = limit
        self._place = place
        self._received = 0
        self.complete = False
        self.slow = False  # the deadline came while the client was being waited for
        self.problem: Exception | None = None

    async def __call__(self) -> Message:
        if self.problem is not None:
            raise _BodyGivenUp
        if self.complete:  # the application waits for the client to go away
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self._received > self._limit:
                self._give_up(TooLarge(f"the body is larger than the {self._limit} bytes allowed here"))
        return message

    async def _next(self) -> Message:
        if self._place is None:
            return await self._receive()
        waiting = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({waiting}, timeout=_PROMPT_S)
            if not waiting.done():
                await self._place.aside(waiting)
            return waiting.result()
        except Overloaded as error:
            self._give_up(error)
        except asyncio.CancelledError:  # the deadline
            self.slow = True
            raise
        finally:
            waiting.cancel()

    def _give_up(self, problem: Exception) -> NoReturn:
        self.problem = problem
        raise _BodyGivenUp


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

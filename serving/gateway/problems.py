"""Problem details (RFC 9457): the one form of every error answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from core import errors

CONTENT_TYPE = "application/problem+json"
_log = structlog.get_logger(__name__)

#: From an error's class to the status of its answer. The first that matches counts, so the narrow ones come first.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.TooLarge, 413),
    (errors.UnsupportedMedia, 415),
    (errors.NotFound, 404),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.Conflict, 409),
    (errors.InvalidInput, 400),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
    (TimeoutError, 504),
)

_CODES = {
    303: "sign-in",
    404: "not-found",
    405: "method-not-allowed",
    408: "slow-request",
    413: "too-large",
    415: "unsupported-media",
    429: "overloaded",
}


@dataclass(frozen=True)
class Problem:
    """An error as a client sees it. `code` is stable; `detail` is for people."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, Any]] = ()
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, trace_id: str) -> bytes:
        """Return the problem document as JSON."""
        document: dict[str, Any] = {
            "type": f"urn:riverlight:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "trace_id": trace_id,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        return msgspec.json.encode(document)

    def response(self, trace_id: str) -> Response:
        """Return the problem as an answer."""
        return Response(self.body(trace_id), self.status, headers=self.all_headers())

    def all_headers(self) -> dict[str, str]:
        """Return the headers that go with the body."""
        headers = {"content-type": CONTENT_TYPE, **self.headers}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


class InvalidRequest(errors.InvalidInput):
    """A request whose fields are wrong; `fields` says which, as `{field, message}`."""

    code = "invalid-request"

    def __init__(self, message: str, fields: Sequence[Mapping[str, str]]) -> None:
        super().__init__(message)
        self.fields = list(fields)


def problem_of(error: Exception) -> Problem:
    """Return the problem that tells a client about `error`, without telling what is none of its business."""
    if isinstance(error, HTTPException):
        status = error.status_code
        code = _CODES.get(status, "invalid-request" if status < 500 else "internal")
        return Problem(status, code, str(error.detail), headers=dict(error.headers or {}))
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return Problem(
                status,
                error.code if isinstance(error, errors.RiverlightError) else "timeout",
                str(error) or "the request took too long",
                errors=error.fields if isinstance(error, InvalidRequest) else (),
                retry_after_s=error.retry_after_s if isinstance(error, errors.Unavailable) else None,
                headers={"www-authenticate": "Bearer"} if isinstance(error, errors.Unauthenticated) else {},
            )
    return Problem(500, "internal", "an unexpected error happened; the trace id finds it in the logs")


def field_errors(items: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return pydantic's errors as `{field, message}`; a field is written as its path, e.g. `filters.region`."""
    return [
        {"field": ".".join(str(part) for part in item["loc"]) or "body", "message": str(item["msg"])} for item in items
    ]


def install_handlers(api: FastAPI) -> None:
    """Make every error of the application a problem document.

    A field that does not validate is a 400, not FastAPI's 422: to a client it is the same mistake as JSON that does
    not parse, and `errors` names the fields either way.
    """

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            fields = field_errors(error.errors())
            error = InvalidRequest("the request is not valid: " + "; ".join(_said(item) for item in fields), fields)
        return problem_of(error).response(request.state.exchange.trace_id)

    async def unexpected(request: Request, error: Exception) -> Response:
        route = getattr(request.scope.get("route"), "path", "unmatched")  # a path holds ids of people
        _log.error("request_failed", route=route, trace_id=request.state.exchange.trace_id, exc_info=error)
        return await answer(request, error)

    api.add_exception_handler(errors.RiverlightError, _internal_or(answer, unexpected))
    api.add_exception_handler(HTTPException, answer)
    api.add_exception_handler(RequestValidationError, answer)
    api.add_exception_handler(TimeoutError, answer)


def _internal_or(answer: Any, unexpected: Any) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        expected = isinstance(error, errors.InvalidInput | errors.Unavailable)
        return await (answer if expected else unexpected)(request, error)

    return handle


def _said(item: Mapping[str, str]) -> str:
    return f"{item['field']}: {item['message']}"

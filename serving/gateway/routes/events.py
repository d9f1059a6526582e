"""`/v1/events/{stream}`: the collector over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from serving.collector import Rejection
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, deps_of, exchange_of
from serving.gateway.problems import Problem
from serving.gateway.schemas import Collected, ProblemDocument, RejectedEvent

router = APIRouter(prefix="/v1/events", tags=["events"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
                    "description": "One CloudEvents 1.0 event, or an array of them.",
                }
            }
        },
    }
}


@router.post(
    "/{stream}",
    status_code=202,
    response_model=Collected,
    openapi_extra=_BODY,
    summary="Send events",
    responses={400: {"model": ProblemDocument, "description": "No event was accepted; `errors` says why for each."}},
)
async def collect(
    stream: str,
    request: Request,
    deps: Annotated[GatewayDeps, Depends(deps_of)],
    exchange: Annotated[Exchange, Depends(exchange_of)],
) -> Any:
    """Send one event or an array of events to a stream.

    Each event is judged alone: 202 says which were accepted (they are durable now) and which were rejected, and why.
    400 when none was accepted.
    """
    body = await request.body()
    with exchange.stage("collect"):
        collection = await deps.collector.collect(stream, body, traceparent=exchange.traceparent)
    if not collection.accepted and collection.rejected:
        reasons = {rejection.code for rejection in collection.rejected}
        problem = Problem(
            400,
            reasons.pop() if len(reasons) == 1 else "invalid-event",
            f"none of {len(collection.rejected)} events was accepted; the first: {collection.rejected[0].error}",
            errors=[_said(rejection).model_dump() for rejection in collection.rejected],
        )
        return problem.response(exchange.trace_id)
    answer = Collected(
        accepted=collection.accepted,
        rejected=[_said(rejection) for rejection in collection.rejected],
        queued=collection.queued,
    )
    return JSONResponse(answer.model_dump(), status_code=202)


def _said(rejection: Rejection) -> RejectedEvent:
    return RejectedEvent(index=rejection.index, error=rejection.error, code=rejection.code)

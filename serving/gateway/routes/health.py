"""`/livez`, `/readyz`, `/metrics`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response

from core.errors import Unavailable
from serving.gateway.dependencies import GatewayDeps, deps_of

router = APIRouter(tags=["health"])

Deps = Annotated[GatewayDeps, Depends(deps_of)]


@router.get("/livez", response_class=PlainTextResponse, summary="Is it making progress?")
async def livez(deps: Deps) -> str:
    """200 while the event loop turns and the followers of index and verdicts do; 503 when a restart would help."""
    if not deps.follower.alive():
        raise Unavailable("the index follower has not moved for a while")
    if not deps.restrictions_follower.alive():
        raise Unavailable("the follower of verdicts has not moved for a while")
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, summary="Can it answer?")
async def readyz(deps: Deps) -> str:
    """200 once the index and the list of restrictions have read their logs to the end; 503 before."""
    ready, why = deps.ready()
    if not ready:
        raise Unavailable(f"not ready: {why}")
    return "ok\n"


@router.get("/metrics", response_class=Response, summary="Metrics of this process")
async def metrics(request: Request, deps: Deps) -> Response:
    """Return the metrics in Prometheus' or OpenMetrics' text format, as the `Accept` header asks."""
    body, content_type = deps.recorder.render(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})

"""`/v1/traces`: why an answer is what it is, and why something is not in it."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from core.errors import NotFound
from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.schemas import Trace, WhyNot
from serving.recommendation.verdicts import SYSTEM as RECOMMENDATION
from serving.recommendation.why import explain as explain_recommendation
from serving.why import Reason, explain
from storage.catalogue import TraceRecord

router = APIRouter(prefix="/v1/traces", tags=["traces"])


@router.get("/{trace_id}", summary="How an answer came about")
async def trace(
    trace_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    deps: Annotated[GatewayDeps, Depends(deps_of)],
    item_id: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Also say why this item is, or is not, in it.")
    ] = None,
) -> Trace:
    """Return what was asked, the model and index that answered, every candidate and what re-ranking made of it."""
    found = await asyncio.to_thread(deps.traces.get, trace_id)
    if found is None:
        raise NotFound(f"no answer has the trace {trace_id}; traces are kept for some days")
    why = None
    if item_id is not None:
        why = WhyNot(**asdict(await _why(deps, found, item_id)))
    return Trace(
        trace_id=found.trace_id, kind=found.kind, created_at=found.created_at, payload=dict(found.payload), why=why
    )


async def _why(deps: GatewayDeps, trace: TraceRecord, item_id: str) -> Reason:
    if trace.kind == RECOMMENDATION:
        if deps.recommendation is None:
            raise NotFound("this system makes no recommendations any more, and so cannot say more about this one")
        return explain_recommendation(trace, item_id, deps.recommendation.recommender.videos)
    item = await asyncio.to_thread(deps.catalogue.item, item_id)
    entry = deps.index.current.get(item_id)
    restriction = deps.restrictions.of(item_id, entry.owner_id) if entry is not None else None
    return explain(trace, item_id, entry=entry, item=item, restriction=restriction)

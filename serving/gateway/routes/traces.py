"""`/v1/traces`: why an answer is what it is, and why something is not in it."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from core.errors import NotFound
from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.schemas import Trace, WhyNot
from serving.why import explain

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
        item = await asyncio.to_thread(deps.catalogue.item, item_id)
        why = WhyNot(**asdict(explain(found, item_id, entry=deps.index.current.get(item_id), item=item)))
    return Trace(
        trace_id=found.trace_id, kind=found.kind, created_at=found.created_at, payload=dict(found.payload), why=why
    )

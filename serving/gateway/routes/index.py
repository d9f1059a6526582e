"""`/v1/index`: what the live index holds and how far it has followed the log."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from serving.gateway.dependencies import GatewayDeps, deps_of

router = APIRouter(prefix="/v1/index", tags=["index"])


@router.get("", summary="The live index")
async def index(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> dict[str, Any]:
    """Return the size, structure and model of the index, its place in the log, and what it has read."""
    stats = await asyncio.to_thread(deps.index.current.stats)
    ready, _ = deps.follower.ready()
    return {**asdict(stats), "ready": ready, "log": deps.follower.describe()}


@router.post("/verify", summary="Prove the index")
async def verify(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> dict[str, Any]:
    """Build an index from the beginning of the log and compare it with the live one at the same place in the log.

    `done` is false while it runs: ask again for the result.
    """
    found = await deps.jobs.result("verify", deps.follower.verify)
    return {"done": False} if found is None else {"done": True, **asdict(found)}


@router.post("/rebuild", summary="Read the log again")
async def rebuild(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> dict[str, Any]:
    """Build the index anew from the beginning of the log; searches are answered by the old one until it is ready.

    `done` is false while it runs: ask again for the result.
    """
    items = await deps.jobs.result("rebuild", deps.follower.rebuild)
    return {"done": False} if items is None else {"done": True, "items": items}


@router.post("/snapshot", summary="Save the index")
async def snapshot(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> dict[str, Any]:
    """Write a snapshot now. `done` is false while it is being written: ask again for the result."""
    path = await deps.jobs.result("snapshot", deps.follower.snapshot)
    return {"done": False} if path is None else {"done": True, "path": str(path), "items": len(deps.index.current)}

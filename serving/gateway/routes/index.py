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

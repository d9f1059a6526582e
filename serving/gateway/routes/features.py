"""`/v1/features`: what is known about the behaviour around an item or of a user, as models see it."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.schemas import FeatureAnswer

router = APIRouter(prefix="/v1/features", tags=["features"])

Id = Annotated[str, Path(max_length=128)]
Deps = Annotated[GatewayDeps, Depends(deps_of)]


@router.get("/items/{item_id}", summary="Features of an item")
async def item_features(item_id: Id, deps: Deps) -> FeatureAnswer:
    """Return the online features of an item. A row that is too old is `stale`, and its values are null."""
    [row] = await asyncio.to_thread(deps.features.item_features, [item_id])
    return FeatureAnswer(**asdict(row))


@router.get("/users/{user_id}", summary="Features of a user")
async def user_features(user_id: Id, deps: Deps) -> FeatureAnswer:
    """Return the online features of a user. A row that is too old is `stale`, and its values are null."""
    [row] = await asyncio.to_thread(deps.features.user_features, [user_id])
    return FeatureAnswer(**asdict(row))

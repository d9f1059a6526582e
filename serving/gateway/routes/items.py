"""`/v1/items`: what is known about an item."""

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path

from core.errors import NotFound
from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.schemas import ItemRestriction, ItemState

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.get("/{item_id}", summary="One item")
async def item(
    item_id: Annotated[str, Path(max_length=128)], deps: Annotated[GatewayDeps, Depends(deps_of)]
) -> ItemState:
    """Return an item as the catalogue has it, and whether this very state is in the live index."""
    found = await asyncio.to_thread(deps.catalogue.item, item_id)
    if found is None:
        raise NotFound(f"no item {item_id!r} is known")
    entry = deps.index.current.get(item_id)
    restriction = deps.restrictions.of(item_id, found.owner_id)
    return ItemState(
        item_id=found.item_id,
        owner_id=found.owner_id,
        kind=found.kind,
        media_id=found.media_id,
        title=found.title,
        description=found.description,
        tags=list(found.tags),
        language=found.language,
        category=found.category,
        visibility=found.visibility,
        blocked_regions=list(found.blocked_regions),
        state=found.state,
        unsafe=found.unsafe,
        created_at=found.created_at,
        updated_at=found.updated_at,
        indexed=entry is not None and entry.version == found.version,
        restriction=None if restriction is None else ItemRestriction(**msgspec.structs.asdict(restriction)),
    )

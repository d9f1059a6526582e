"""`/v1/restrictions`: what moderation takes down and lowers, and how far its verdicts have been followed."""

from typing import Annotated

from fastapi import APIRouter, Depends

from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.schemas import RestrictionsState

router = APIRouter(prefix="/v1/restrictions", tags=["moderation"])


@router.get("", summary="What is restricted")
async def restrictions(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> RestrictionsState:
    """Return how many posts and items are enforced against and demoted, and the place in the log of verdicts."""
    posts, items = deps.restrictions.current.counts()
    by_state: dict[str, dict[str, int]] = {}
    for (state, harm), number in sorted(posts.items()):
        by_state.setdefault(state, {})[harm] = number
    ready, _ = deps.restrictions.ready()
    return RestrictionsState(ready=ready, posts=by_state, items=items, log=deps.restrictions_follower.describe())

"""`/console`: the pages that show the system to a person. Server-rendered; they talk to the same API as everybody."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from core.access.roles import Principal
from core.errors import NotFound
from serving.gateway.dependencies import GatewayDeps, caller_of, deps_of
from serving.gateway.pages import page, read_file
from serving.recent import newest

router = APIRouter(include_in_schema=False)

Deps = Annotated[GatewayDeps, Depends(deps_of)]
Caller = Annotated[Principal, Depends(caller_of)]

_RECENT = 60
_ASSETS = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "homepage.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript",
    "review.css": "text/css",
    "review.js": "text/javascript",
    "review-job.js": "text/javascript",
    "review-queue.js": "text/javascript",
    "sign-in.js": "text/javascript",
}


@router.get("/", response_class=RedirectResponse)
async def root() -> RedirectResponse:
    return RedirectResponse("/console")


@router.get("/console", response_class=HTMLResponse)
async def console(deps: Deps, caller: Caller) -> HTMLResponse:
    index = deps.index.current
    stats = await asyncio.to_thread(index.stats)
    ready, why = deps.ready()
    known = deps.restrictions.ready()[0]  # else what is enforced might be among them
    recent = await asyncio.to_thread(newest, index, _RECENT, deps.restrictions.enforces) if known else []
    return page(
        "console.html",
        deps,
        caller,
        here="/console",
        items=recent,
        n_items=stats.items - stats.hidden,
        model_version=index.model_version,
        ready=ready,
        why=why,
        max_k=deps.search_settings.max_k,
        min_score=deps.search_settings.min_score,
    )


@router.get("/console/homepage", response_class=HTMLResponse)
async def homepage(deps: Deps, caller: Caller) -> HTMLResponse:
    return page(
        "homepage.html",
        deps,
        caller,
        here="/console/homepage",
        default_k=deps.recommendation_settings.default_k,
        max_k=deps.recommendation_settings.max_k,
    )


@router.get("/console/{name}")
async def asset(name: str) -> Response:
    if name not in _ASSETS:
        raise NotFound(f"there is no {name!r} here")
    return Response(read_file(name), media_type=_ASSETS[name], headers={"cache-control": "no-cache"})

"""`/console`: the pages that show the system to a person. Server-rendered; they talk to the same API as everybody."""

import asyncio
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, select_autoescape

from core.errors import NotFound
from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.recent import newest

router = APIRouter(include_in_schema=False)

_RECENT = 60
_ASSETS = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "homepage.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript",
    "sign-in.js": "text/javascript",
}
# Nothing but our own files and pictures; `blob:` shows the image that is being searched for.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


CONSOLE_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-store"}


@router.get("/", response_class=RedirectResponse)
async def root() -> RedirectResponse:
    return RedirectResponse("/console")


@router.get("/console", response_class=HTMLResponse)
async def console(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> HTMLResponse:
    index = deps.index.current
    stats = await asyncio.to_thread(index.stats)
    ready, why = deps.ready()
    known = deps.restrictions.ready()[0]  # else what is enforced might be among them
    recent = await asyncio.to_thread(newest, index, _RECENT, deps.restrictions.enforces) if known else []
    page = _template("console.html").render(
        items=recent,
        n_items=stats.items - stats.hidden,
        model_version=index.model_version,
        ready=ready,
        why=why,
        max_k=deps.search_settings.max_k,
        min_score=deps.search_settings.min_score,
        signed_in=not deps.door.is_open,
    )
    return HTMLResponse(page, headers=CONSOLE_HEADERS)


@router.get("/console/homepage", response_class=HTMLResponse)
async def homepage(deps: Annotated[GatewayDeps, Depends(deps_of)]) -> HTMLResponse:
    page = _template("homepage.html").render(
        default_k=deps.recommendation_settings.default_k,
        max_k=deps.recommendation_settings.max_k,
        signed_in=not deps.door.is_open,
    )
    return HTMLResponse(page, headers=CONSOLE_HEADERS)


@router.get("/console/{name}")
async def asset(name: str) -> Response:
    if name not in _ASSETS:
        raise NotFound(f"there is no {name!r} here")
    return Response(read_file(name), media_type=_ASSETS[name], headers={"cache-control": "no-cache"})


@cache
def read_file(name: str) -> str:
    """Return one of the console's files."""
    return files("serving.console").joinpath(name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(read_file), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )

"""What the console's pages are made with: templates, files, and headers that let a browser run nothing but ours."""

from datetime import datetime
from functools import cache
from importlib.resources import files

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, select_autoescape

from core.access.roles import Principal, Role
from serving.gateway.dependencies import GatewayDeps

# Nothing but our own files and pictures; `blob:` shows the image that is being searched for.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
CONSOLE_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-store"}


def page(
    name: str, deps: GatewayDeps, caller: Principal, *, here: str, status: int = 200, **values: object
) -> HTMLResponse:
    """Return a page: a template of the console, with what its layout needs and `values`. `here` is its path."""
    body = _template(name).render(
        here=here,
        signed_in=not deps.door.is_open,
        may_review=deps.moderation is not None and not caller.roles.isdisjoint({Role.reviewer, Role.admin}),
        **values,
    )
    return HTMLResponse(body, status, headers=CONSOLE_HEADERS)


@cache
def read_file(name: str) -> str:
    """Return one of the console's files."""
    return files("serving.console").joinpath(name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(read_file),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["spoken"] = _spoken
    made.filters["since"] = _since
    return made


def _spoken(word: str) -> str:
    """Return a word of the code as people write it: `self_harm` is `self-harm`."""
    return word.replace("_", "-")


def _since(then: datetime, now: datetime) -> str:
    """Return how long ago something was, in the unit that says enough."""
    seconds = max((now - then).total_seconds(), 0.0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

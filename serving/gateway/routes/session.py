"""`/console/sign-in` and `/console/session`: a token becomes the cookie that the console's requests are known by.

The cookie holds the token itself, and nothing is kept here. Scripts cannot read it (`HttpOnly`), other sites cannot
make a browser send it (`SameSite=Strict`), and it ends with the token.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from core.access.tokens import MAX_TOKEN_CHARACTERS
from serving.access import COOKIE
from serving.gateway.dependencies import GatewayDeps, deps_of
from serving.gateway.pages import CONSOLE_HEADERS, read_file

router = APIRouter(include_in_schema=False)

Deps = Annotated[GatewayDeps, Depends(deps_of)]


class Session(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARACTERS)]


@router.get("/console/sign-in", response_class=HTMLResponse)
async def sign_in() -> HTMLResponse:
    return HTMLResponse(read_file("sign-in.html"), headers=CONSOLE_HEADERS)


@router.post("/console/session", status_code=204)
async def begin(request: Request, session: Session, deps: Deps) -> Response:
    """Set the cookie if the token is valid."""
    token = session.token.strip()
    deps.door.verify(token)
    response = Response(status_code=204)
    if not deps.door.is_open:
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(deps.auth.max_lifetime_s),
            path="/",
            httponly=True,
            samesite="strict",
            secure=secure,
        )
    return response


@router.delete("/console/session", status_code=204)
async def end() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response

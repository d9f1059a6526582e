"""The door of every HTTP application of ours: who calls, and whether they may."""

from starlette.datastructures import Headers

from core.access.keys import PUBLIC_FILE
from core.access.roles import ANYBODY, Principal, Role
from core.access.tokens import TokenVerifier
from core.clock import Clock
from core.errors import Forbidden, Unauthenticated
from core.settings import Settings

COOKIE = "riverlight_token"
_SAFE_METHODS = ("GET", "HEAD")

#: Who may call a route: these roles, or everybody when it is None.
Allowed = frozenset[Role] | None
EVERYBODY: Allowed = None


class Door:
    """Identifies callers by `Authorization: Bearer` or, for browsers, by the cookie that the console sets."""

    def __init__(self, verifier: TokenVerifier | None) -> None:
        """Without a verifier nobody is asked. Only `open_door` decides that, by the settings."""
        self._verifier = verifier

    @property
    def is_open(self) -> bool:
        return self._verifier is None

    def identify(self, method: str, headers: Headers) -> Principal:
        """Return who calls.

        Raises:
            Unauthenticated: no token, or one that is not valid.
            Forbidden: a cookie on a request that another site has made the browser send.
        """
        if self._verifier is None:
            return ANYBODY
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer" or not token:
                raise Unauthenticated("show a token as `Authorization: Bearer TOKEN`")
            return self._verifier.verify(token.strip())
        token = cookie_of(headers)
        if not token:
            raise Unauthenticated("this needs a token: `Authorization: Bearer TOKEN`")
        # SameSite=Strict keeps the cookie from other sites' requests; this holds where a browser does not know it.
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site") != "same-origin":
            raise Forbidden("a cookie counts for requests of our own pages only; programs send `Authorization: Bearer`")
        return self._verifier.verify(token)

    def verify(self, token: str) -> Principal:
        """Return whom a token makes its bearer. Raises Unauthenticated."""
        return ANYBODY if self._verifier is None else self._verifier.verify(token)


def permit(caller: Principal, allowed: Allowed) -> None:
    """Raise Forbidden unless the caller has one of the roles."""
    if allowed is not None and not caller.roles & allowed:
        needed = " or ".join(sorted(role for role in allowed if role is not Role.service)) or Role.service
        raise Forbidden(f"this needs the role {needed}")


def open_door(settings: Settings, clock: Clock) -> Door:
    """Return the door that the settings ask for. Raises ConfigurationError when keys are missing."""
    if settings.auth.mode == "open":
        return Door(None)
    return Door(TokenVerifier(settings.auth, settings.own_keys_folder / PUBLIC_FILE, clock))


def cookie_of(headers: Headers) -> str:
    """Return the token in the cookie, or an empty text."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""

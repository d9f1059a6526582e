"""What a request passes before anything else of it is looked at: its route, its caller, the caller's rate.

Nothing of the body has been read by then. Only routes of the table get through: one that somebody forgot to declare
does not exist for callers.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from core.access.roles import Principal
from core.errors import Forbidden, Unauthenticated
from serving.access import Door, permit
from serving.gateway.access import ROUTES
from serving.gateway.rates import Kind, RateLimiter

_SIGN_IN = "/console/sign-in"
# A browser that may not see them is led to the sign-in.
_PAGES = ("/console", "/console/homepage", "/console/review")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Entrance:
    """Lets requests in, or says why not."""

    def __init__(
        self, routes: Sequence[BaseRoute], door: Door, rates: RateLimiter | None, trusted_proxies: Iterable[str]
    ) -> None:
        """`routes`: every route of the application, flat."""
        self._routes = routes
        self._door = door
        self._rates = rates
        self._proxies: list[_Network] = [ipaddress.ip_network(network) for network in trusted_proxies]

    async def admit(self, scope: Scope) -> Principal:
        """Return the caller of a request that may go on.

        Raises:
            Unauthenticated: the route needs a token, and there is none or not a valid one.
            Forbidden: the caller has none of the roles, or nobody has declared who has.
            RateLimited: too many calls.
            HTTPException: there is no such route (404), or not with this method (405). Without a token nobody learns.
        """
        headers = Headers(scope=scope)
        method = "GET" if scope["method"] == "HEAD" else str(scope["method"])
        route, others = self._match(scope)
        declared = ROUTES.get((method, getattr(route, "path", ""))) if route is not None else None
        allowed, kind = declared or (frozenset(), Kind.read)
        address = client_address(scope, headers, self._proxies)
        asked = declared is None or allowed is not None
        browsing = _is_page(scope["path"]) and "text/html" in headers.get("accept", "")
        caller = await self._identify(method, headers, address, asked=asked, browsing=browsing)
        if self._rates is not None and kind is not Kind.free:
            await self._rates.take(kind, caller.subject or address)
        if route is None:
            raise HTTPException(405, headers={"allow": ", ".join(others)}) if others else HTTPException(404)
        scope["route"] = route  # for the metrics of those who are turned away here
        if declared is None:
            raise Forbidden(f"nobody may call {method} {getattr(route, 'path', '')}: it is not in the table of access")
        permit(caller, allowed)
        return caller

    async def _identify(self, method: str, headers: Headers, address: str, *, asked: bool, browsing: bool) -> Principal:
        """Return who calls; when nobody is asked, a caller without roles."""
        if not asked:
            return Principal(None, frozenset())
        try:
            return self._door.identify(method, headers)
        except Unauthenticated:
            if self._rates is not None:
                await self._rates.take(Kind.refused, address)
            if browsing:
                raise HTTPException(303, headers={"location": _SIGN_IN}) from None
            raise

    def _match(self, scope: Scope) -> tuple[BaseRoute | None, list[str]]:
        """Return the route that takes the request, and otherwise the methods that routes of its path do take."""
        others: set[str] = set()
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return route, []
            if match is Match.PARTIAL:
                others |= set(getattr(route, "methods", ()) or ())
        return None, sorted(others)


def _is_page(path: str) -> bool:
    return path in _PAGES or path.startswith("/console/review/")


def client_address(scope: Scope, headers: Headers, proxies: Sequence[_Network]) -> str:
    """Return the address a request comes from: the last in `X-Forwarded-For` that is not a trusted proxy's.

    What stands further left was written by whoever sent it, and says nothing. IPv6 callers count by their /64.
    """
    peer = scope.get("client")
    address = str(peer[0]) if peer else "unknown"
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    while hops and _is_in(address, proxies):
        address = hops.pop()
    return _bucket(address)


def _is_in(address: str, networks: Sequence[_Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _bucket(address: str) -> str:
    parsed = _parsed(address)
    if parsed is None:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed

"""Finding the running system: its API and its broker."""

import time
from typing import Annotated, Any

import typer

from core.access.credentials import Headers, credentials
from core.access.roles import GRANTED
from core.clock import SystemClock
from core.errors import RiverlightError, Unavailable
from core.settings import Settings
from infra.cli.output import NotRunning

BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="Bootstrap servers, host:port. Default: the running system's.")
]


def bootstrap_of(settings: Settings, broker: str | None) -> str:
    """Return the broker to talk to: the one named, the one in the settings, or the running system's.

    Raises:
        NotRunning: none of the three.
    """
    if broker := broker or settings.broker.bootstrap:
        return broker
    return str(_urls(settings)["broker"])


def api_url(settings: Settings) -> str:
    """Return the base URL of the running API. Raises NotRunning."""
    return str(_urls(settings)["http"])


def admin(settings: Settings) -> Headers:
    """Return what commands show the API: `auth.token_file`, or a token signed with this installation's key."""
    return credentials(settings, SystemClock(), subject="command-line", roles=GRANTED)


def call(settings: Settings, method: str, path: str, *, timeout_s: float = 120.0, **arguments: Any) -> dict[str, Any]:
    """Call the running API and return its JSON answer.

    Raises:
        NotRunning: there is no running system.
        Unavailable: it did not answer.
        RiverlightError: it refused, with its reason.
    """
    import httpx

    try:
        response = httpx.request(
            method, api_url(settings) + path, timeout=timeout_s, headers=admin(settings)(), **arguments
        )
    except httpx.TransportError as error:
        raise Unavailable(f"the API does not answer: {error}") from error
    if response.status_code == 401 and settings.auth.mode == "open":
        raise RiverlightError("the API asks for tokens; run this with the settings it runs with (auth.mode=tokens)")
    if response.is_error:
        raise RiverlightError(f"{method} {path} answered {response.status_code}: {response.text[:500]}")
    body: dict[str, Any] = response.json()
    return body


def call_until_done(settings: Settings, path: str, *, timeout_s: float = 600.0) -> dict[str, Any]:
    """Start a job of the API and ask until it is done. Raises as `call` does, and Unavailable after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = call(settings, "POST", path)
        if answer.pop("done"):
            return answer
        if time.monotonic() > deadline:
            raise Unavailable(f"{path} is not done after {timeout_s:g} s; it goes on")


def _urls(settings: Settings) -> dict[str, str]:
    from infra.supervisor.control import status

    found = status(settings.home)
    if not found.running:
        raise NotRunning(f"nothing is running in {found.home}; start it with: riverlight up --detach")
    return found.urls

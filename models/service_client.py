"""A client of one of the platform's own model services over HTTP: kept-alive connections, and errors in our words."""

import asyncio
from collections.abc import Mapping
from typing import NoReturn

import httpx
import msgspec
from msgspec import Struct

from core.access.credentials import Headers, no_headers
from core.errors import InvalidInput, Overloaded, TooLarge, Unavailable

_MAX_RETRY_AFTER_S = 60.0
_ANSWER_MARGIN, _MOST_MARGIN_S = 0.25, 1.0  # the service keeps the deadline itself; this is for its answer to arrive
_CONNECT_S = 5.0


class ServiceClient:
    """Asks one service. One object for a process; `aclose` it at the end."""

    def __init__(
        self, noun: str, base_url: str, prefix: str, *, max_connections: int = 32, credentials: Headers = no_headers
    ) -> None:
        """`noun` names the service in messages (`the image encoder`).

        `base_url` is that of the platform (`http://host:port`); the service's own `prefix` may follow. `credentials`
        are asked for at each call.
        """
        self.url = base_url.rstrip("/").removesuffix(prefix) + prefix
        self._noun = noun
        self._credentials = credentials
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(
        self,
        path: str,
        body: bytes,
        timeout_s: float,
        *,
        content_type: str = "application/json",
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the body of the answer, within `timeout_s` and a quarter of it, at most a second.

        That bounds the whole call: httpx would grant as much again to each wait for a connection or a byte, and callers
        with a deadline of their own would take a service that hangs for a defect of what they ask about.

        Raises:
            InvalidInput, TooLarge: the service refuses the request.
            Unavailable, Overloaded: it did not answer in time, or not as it should.
        """
        try:
            async with asyncio.timeout(timeout_s + min(_ANSWER_MARGIN * timeout_s, _MOST_MARGIN_S)):
                response = await self._client.post(
                    self.url + path,
                    content=body,
                    params=parameters,
                    headers={"content-type": content_type, **self._credentials()},
                    timeout=httpx.Timeout(None, connect=min(timeout_s, _CONNECT_S)),
                )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Unavailable(f"{self._noun} at {self.url} did not answer in {timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self._noun} at {self.url} cannot be reached: {error!r}") from error
        if response.status_code != 200:
            self._refuse(response)
        return response.content

    def _refuse(self, response: httpx.Response) -> NoReturn:
        status, detail = response.status_code, _detail(response)
        if status == 429:
            raise Overloaded(f"{self._noun} is overloaded: {detail}", retry_after_s=_retry_after_s(response))
        if status == 413:
            raise TooLarge(detail)
        if status in (400, 415, 422):
            raise InvalidInput(f"{self._noun} refused the request: {detail}")
        raise Unavailable(
            f"{self._noun} at {self.url} answered {status}: {detail}", retry_after_s=_retry_after_s(response)
        )


class _Problem(Struct):
    detail: str = ""


def _detail(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Problem).detail[:500]
    except msgspec.MsgspecError:
        return response.text[:200]


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", "1")), 0.0), _MAX_RETRY_AFTER_S)
    except ValueError:
        return 1.0

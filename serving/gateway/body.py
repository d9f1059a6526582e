"""The body of a request as it streams in: counted, and waited for without keeping others from being answered."""

import asyncio
from collections import deque
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from core.errors import Overloaded, TooLarge
from serving.gateway.places import Place, Places

#: What is received of a body before it asks for a place: all of most bodies.
AHEAD_BYTES = 64 * 1024
#: What is read and thrown away of a body after its answer, and for how long.
LINGER_BYTES = 16 * 1024 * 1024
LINGER_S = 2.0
_PROMPT_S = 0.02  # a client that sends on within this keeps its place


class BodyGivenUp(Exception):
    """The body is not received any further; its `problem` says why."""


class CountedBody:
    """Receives a body and counts what really arrives: `Content-Length` can lie or be absent."""

    def __init__(self, scope: Scope, receive: Receive, limit: int, places: Places) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self._limit = limit
        self._places = places
        self._received = 0
        self._ahead: deque[Message] = deque()
        self.place: Place | None = None
        self.announced = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.complete = False
        self.gone = False  # the client went away before it had sent everything
        self.slow = False  # the deadline came while the client was being waited for
        self.problem: Exception | None = None

    async def begin(self) -> None:
        """Receive a small body to its end and the beginning of a large one, before anything is done for it.

        Whoever sends slowly waits here, and takes no place from others.

        Raises:
            BodyGivenUp: it is too large, or too many wait for their clients already.
        """
        if not self.announced:
            return
        try:
            with self._places.receiving():
                while not (self.complete or self.gone) and self._received < AHEAD_BYTES:
                    self._ahead.append(self._counted(await self._arrival()))
        except Overloaded as error:
            self._give_up(error)

    async def __call__(self) -> Message:
        """Return the next message, as ASGI's `receive`. Raises BodyGivenUp."""
        if self.problem is not None:
            raise BodyGivenUp
        if self._ahead:
            return self._ahead.popleft()
        if self.complete:  # the application waits for the client to go away
            return await self._receive()
        return self._counted(await self._next())

    async def linger(self) -> None:
        """Throw away what the client still sends, for a while and up to a limit.

        The kernel resets a connection that is closed with bytes unread, and the client may lose the answer to it.
        """
        try:
            async with asyncio.timeout(LINGER_S):
                thrown = 0
                while not (self.complete or self.gone) and thrown < LINGER_BYTES:
                    message = await self._receive()
                    self._note(message)
                    thrown += len(message.get("body", b""))
        except TimeoutError:
            pass

    async def _next(self) -> Message:
        if self.place is None:
            return await self._arrival()
        waiting = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({waiting}, timeout=_PROMPT_S)
            if not waiting.done():
                async with self.place.lent():
                    await asyncio.wait({waiting})
            return waiting.result()
        except Overloaded as error:
            self._give_up(error)
        except asyncio.CancelledError:  # the deadline
            self.slow = not waiting.done()
            raise
        finally:
            waiting.cancel()

    async def _arrival(self) -> Message:
        try:
            return await self._receive()
        except asyncio.CancelledError:  # the deadline
            self.slow = True
            raise

    def _counted(self, message: Message) -> Message:
        self._note(message)
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            self._give_up(TooLarge(f"the body is larger than the {self._limit} bytes allowed here"))
        return message

    def _note(self, message: Message) -> None:
        self.gone = message["type"] == "http.disconnect"
        self.complete = not self.gone and not message.get("more_body", False)

    def _give_up(self, problem: Exception) -> NoReturn:
        self.problem = problem
        raise BodyGivenUp

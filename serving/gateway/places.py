"""The places of requests that are worked on: those beyond wait in a queue, those beyond the queue are refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from core.errors import Overloaded


class Places:
    """Counts who is worked on, who waits for that, and who waits for a client to send the rest of a body."""

    def __init__(self, at_once: int, max_waiting: int, max_receiving: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._max_waiting = max_waiting
        self._receiving = 0
        self._max_receiving = max_receiving

    @property
    def full(self) -> bool:
        """Whether one more would have to wait beyond the queue."""
        return self._free.locked() and self._waiting >= self._max_waiting

    @asynccontextmanager
    async def taken(self) -> AsyncIterator["Place"]:
        """Wait for a place and keep it until the block ends."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        place = Place(self, self._free)
        try:
            yield place
        finally:
            place.leave()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count one more who waits for a client. Raises Overloaded when there are too many already."""
        if self._receiving >= self._max_receiving:
            raise Overloaded("too many requests are waiting for the rest of their bodies", retry_after_s=1.0)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1


class Place:
    """One request's place. Who waits for a client does no work, and must not keep others from it."""

    def __init__(self, places: Places, free: asyncio.Semaphore) -> None:
        self._places = places
        self._free = free
        self._held = True

    def leave(self) -> None:
        """Give the place back, unless that was done already."""
        if self._held:
            self._held = False
            self._free.release()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Leave the place to others for the block, then wait for one again. Raises Overloaded as `receiving` does."""
        with self._places.receiving():
            self.leave()
            yield
        await self._free.acquire()
        self._held = True

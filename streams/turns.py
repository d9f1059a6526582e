"""Turns: work on the same key is done in the order it was asked for, work on different keys side by side."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Turns:
    """Hands out turns by key. For one event loop."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Future[None]] = {}  # by key, the end of the work that asked for it last

    @asynccontextmanager
    async def of(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Enter when all work that asked for one of the keys before has ended.

        A place is taken before anything is waited for, and nobody waits for who came later: there is no deadlock.
        """
        mine = set(keys)
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = {self._last[key] for key in mine if key in self._last}
        self._last |= dict.fromkeys(mine, end)

        def leave(_: object = None) -> None:
            end.set_result(None)
            for key in mine:
                if self._last[key] is end:
                    del self._last[key]

        try:
            for one in before:
                await asyncio.shield(one)
        except asyncio.CancelledError:  # those behind still wait for those before
            asyncio.gather(*before).add_done_callback(leave)
            raise
        try:
            yield
        finally:
            leave()

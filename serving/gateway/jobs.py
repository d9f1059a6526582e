"""Work that outlasts a request: started by one call, its result fetched by asking again."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Jobs:
    """Background work by name, at most one of each name at a time."""

    def __init__(self, wait_s: float = 5.0) -> None:
        """`wait_s`: how long a call waits before it answers "not yet"."""
        self._wait_s = wait_s
        self._running: dict[str, asyncio.Task] = {}

    async def result(self, name: str, work: Callable[[], T]) -> T | None:
        """Start `work` in a thread unless it runs; return its result, or None while there is none yet.

        Raises whatever the work raised. A result is handed out once; the next call starts the work again.
        """
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(asyncio.to_thread(work))
        done, _ = await asyncio.wait({task}, timeout=self._wait_s)
        if not done:
            return None
        self._running.pop(name, None)
        result: T = task.result()
        return result

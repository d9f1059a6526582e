"""Calls that may be slow or hang, made in threads: whoever waits too long goes on without them."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Bounded(Generic[P, T]):
    """One function, run in a shared executor, at most `at_once` times at once.

    A call that hangs takes a thread with it. After `at_once` of them the function is not called any more until one
    returns, so that what hangs costs those who ask for it nothing but what it would have said.
    """

    def __init__(self, call: Callable[P, T], threads: Executor, at_once: int) -> None:
        self._call = call
        self._threads = threads
        self._free = threading.Semaphore(at_once)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> "Future[T] | None":
        """Begin a call; None when too many are running already."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            future = self._threads.submit(self._call, *args, **kwargs)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

"""Calls that may be slow or hang, made in threads: whoever waits too long goes on without them."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Busy(Exception):
    """As many calls as allowed are running."""


class Bounded(Generic[P, T]):
    """One function that runs at most `at_once` times at once.

    A call that hangs takes its thread with it. After `at_once` of them the function is not called any more until one
    returns, so that what hangs costs those who ask for it nothing but what it would have said.
    """

    def __init__(self, call: Callable[P, T], at_once: int) -> None:
        self._call = call
        self._free = threading.Semaphore(at_once)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function here. Raises Busy when too many calls are running, and what the function raises."""
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            return self._call(*args, **kwargs)
        finally:
            self._free.release()

    def start(self, threads: Executor, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call the function in a thread. Raises Busy when too many calls are running."""
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            future = threads.submit(self._call, *args, **kwargs)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

"""Turns of threads that compute in Python: one after another instead of all a little at a time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

_COMPUTES = 0.2  # share of its time that a thread which computes gets at least, on busy processors too
_SHORTEST_WAIT_S = 0.001  # of who is not the next, while the next overtakes somebody


@dataclass(eq=False)
class _Turn:
    """One thread's: the clock of what it computes, and since when it has had the turn."""

    computed_s: Callable[[], float]
    given: threading.Event = field(default_factory=threading.Event)
    since: float = 0.0
    computed_before_s: float = 0.0

    def begin(self) -> None:
        self.since = time.perf_counter()
        self.computed_before_s = self.computed_s()
        self.given.set()

    def left_s(self, patience_s: float, longest_s: float) -> float:
        """Return the seconds that are left of it: of `patience_s` where the thread only waits, else `longest_s`."""
        held_s = time.perf_counter() - self.since
        if held_s < patience_s:
            return patience_s - held_s
        computes = self.computed_s() - self.computed_before_s >= _COMPUTES * held_s
        return longest_s - held_s if computes else 0.0


def clock_of_this_thread() -> Callable[[], float]:
    """Return a clock of the seconds that processors give this thread, to be read by any while the thread lives.

    Some systems tell nobody what another thread gets: all time counts as computed there.
    """
    ask = getattr(time, "pthread_getcpuclockid", None)
    return time.perf_counter if ask is None else partial(time.clock_gettime, ask(threading.get_ident()))


class Turns:
    """Gives threads turns, in the order they came.

    Threads that compute in Python run one at a time anyway, and each array operation hands the interpreter to another
    of them: four answers at once took hundreds of switches each, and a third of the processors' time went by while all
    waited for the interpreter. A turn is a courtesy, not a lock: who waits for something or hangs loses it to the next
    after `patience_s`, who computes on and on after `longest_s`, and both go on without.
    """

    def __init__(
        self,
        patience_s: float,
        longest_s: float,
        *,
        clock_of_this_thread: Callable[[], Callable[[], float]] = clock_of_this_thread,
    ) -> None:
        self.patience_s = patience_s
        self._longest_s = longest_s
        self._clock_of_this_thread = clock_of_this_thread
        self._lock = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._holder: _Turn | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it until the block ends."""
        mine = _Turn(self._clock_of_this_thread())
        with self._lock:
            self._waiting.append(mine)
            if self._holder is None:
                self._next()
        while not mine.given.is_set():
            mine.given.wait(max(self._left_s(), _SHORTEST_WAIT_S))
        try:
            yield
        finally:
            with self._lock:
                if self._holder is mine:
                    self._next()

    def _left_s(self) -> float:
        """Return the seconds until the holder can lose the turn; where that is now, the next has it."""
        with self._lock:
            left_s = self._holder.left_s(self.patience_s, self._longest_s) if self._holder is not None else 0.0
            if left_s <= 0:
                self._next()
            return left_s

    def _next(self) -> None:
        self._holder = self._waiting.popleft() if self._waiting else None
        if self._holder is not None:
            self._holder.begin()

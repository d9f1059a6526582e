"""Keeps a state equal to the log: a snapshot, then the topics from the snapshot's offsets, for ever.

Two threads. The follower polls the log and applies what it reads: it does nothing else, for its pace is how fresh
answers are. The keeper (`keeper.py`) does what may take long. Every replica does this for itself and so comes to the
same state; a restart loses nothing.

To catch up, topics are read to their end one after the other, in the order they are given, so that what refers to
something finds it; from then on they are read in turn.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Generic

import structlog

from core.clock import Clock
from core.errors import Unavailable
from monitoring.recorder import Recorder
from serving.following.feed import Feed
from serving.following.keeper import Keeper
from serving.following.place import Place, StartAgain
from serving.following.topic_log import TopicLog, TopicReader
from serving.following.view import S, View

_log = structlog.get_logger(__name__)

_POLL_RECORDS = 500
_BACKOFF_S = 1.0
_REBUILD_TIMEOUT_S = 300.0


class Follower(Generic[S]):
    """Follows the log in background threads between `start()` and `close()`."""

    def __init__(
        self,
        view: View[S],
        logs: Mapping[str, TopicLog],
        *,
        poll_s: float,
        snapshot_interval_s: float,
        recorder: Recorder,
        clock: Clock,
        on_caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Follow `logs`, in the order they are to be caught up with, by topic.

        Args:
            poll_s: waited for the last topic: how long a record may lie unread beside silent topics.
            on_caught_up: called when a state holds everything that the log held, before it is said to be ready.
        """
        self._view = view
        self._logs = dict(logs)
        self._poll_s = poll_s
        self._clock = clock
        self._on_caught_up = on_caught_up
        self._feed = Feed(view)
        self._other_log = threading.Event()  # set by the keeper, acted on by the follower
        self._rebuild_wanted = threading.Event()
        self._keeper = Keeper(
            self._feed,
            view,
            self._logs,
            snapshot_interval_s=snapshot_interval_s,
            on_other_log=self._other_log.set,
            recorder=recorder,
            clock=clock,
        )
        self._served: S | None = None  # what answers; another than the one being fed while that catches up
        self._caught_up = False
        self._trust_snapshots = True
        self._problem = f"the {view.noun} has not read the log to its end yet"
        self._tick = clock.monotonic()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.rebuilds = 0

    def start(self) -> None:
        """Load the newest valid snapshot and begin to follow."""
        self._begin_thread("follower", self._run)
        self._begin_thread("keeper", lambda: self._keeper.run(self._stop, lambda: self._caught_up))

    def close(self) -> None:
        """Stop following and write a last snapshot, so that the next start has little to read."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        if self._caught_up:
            self._keeper.save()

    def ready(self) -> tuple[bool, str]:
        """Tell whether the state has once held everything that the log held; if not, why."""
        return self._caught_up, self.problem

    def alive(self, within_s: float = 15.0) -> bool:
        """Tell whether the follower's loop has turned in the last `within_s` seconds."""
        return self._clock.monotonic() - self._tick < within_s

    def snapshot(self) -> Path:
        """Write a snapshot now, whether or not anything changed. Raises Unavailable before it has caught up."""
        path = self._keeper.save(force=True) if self._caught_up else None
        if path is None:
            raise Unavailable(f"there is nothing to save yet: {self._problem}")
        return path

    def start_again(self, timeout_s: float = _REBUILD_TIMEOUT_S) -> S:
        """Read the log again from its beginning, and return the state that is then served instead of the old one.

        Raises:
            Unavailable: it took longer than `timeout_s`; it goes on.
        """
        before = self._served
        self._rebuild_wanted.set()
        deadline = self._clock.monotonic() + timeout_s
        while self._served is None or self._served is before:
            if self._clock.monotonic() > deadline or self._stop.wait(0.05):
                raise Unavailable(
                    f"the {self._view.noun} was not rebuilt within {timeout_s:g} s; it goes on in the background"
                )
        return self._served

    def look_at_log(self) -> None:
        """Measure the lag now, as is done every few seconds. Raises Unavailable when the log does not answer."""
        self._keeper.look_at_log()

    @property
    def problem(self) -> str:
        """Why it is not ready; empty when it is."""
        return "" if self._caught_up else self._problem

    @property
    def lag(self) -> int:
        """Records in the log that are not applied yet, when last looked at."""
        return self._keeper.lag

    @property
    def place(self) -> Place:
        """How far the log was read."""
        return self._feed.place.copy()

    def _begin_thread(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=f"{self._view.name}-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        name = self._view.name
        while not self._stop.is_set():
            try:
                self._follow()
            except StartAgain as restart:
                _log.warning(f"{name}_log_restarted", reason=str(restart))
                self._trust_snapshots = restart.trust_snapshots
                self._feed.abandon()
                self.rebuilds += 1
            except Unavailable as error:
                self._problem = str(error)
                _log.warning(f"{name}_log_unavailable", error=str(error))
                self._pause()
            except Exception as error:  # dying here would freeze answers at an old state while all looks well
                self._problem = f"the follower failed: {error}"
                _log.exception(f"{name}_follower_failed")
                self._pause()

    def _follow(self) -> None:
        """Begin, catch up, serve, and go on until told to stop."""
        self._begin({topic: log.epoch() for topic, log in self._logs.items()})
        with ExitStack() as opened:
            readers: dict[str, TopicReader] = {}
            for topic, log in self._logs.items():
                readers[topic] = log.open(self._feed.place.of(topic))
                opened.callback(readers[topic].close)
                self._feed.place.check_ends(topic, readers[topic].end_offsets())
            for topic, reader in readers.items():
                while not reader.caught_up() and not self._stop.is_set():
                    self._read(topic, reader, self._poll_s)
            if not self._stop.is_set():
                self._serve_caught_up()
            *others, last = readers
            while not self._stop.is_set():
                for topic in others:
                    self._read(topic, readers[topic], 0.0)
                self._read(last, readers[last], self._poll_s)

    def _begin(self, epochs: dict[str, str]) -> None:
        """Have a state and a place to go on from: the ones at hand, a snapshot, or nothing from the start."""
        if self._feed.state is not None and self._feed.place.epochs == epochs:
            return
        self._other_log.clear()
        state, place = self._from_snapshot(epochs) or (self._view.empty(), Place.beginning(epochs))
        self._feed.begin(state, place)
        self._trust_snapshots = True
        if not self._caught_up:  # nothing better is being served, so what the snapshot holds is a start
            self._serve(state)

    def _from_snapshot(self, epochs: dict[str, str]) -> tuple[S, Place] | None:
        loaded = self._view.load() if self._trust_snapshots else None
        if loaded is None:
            return None
        state, place = loaded
        if place.epochs != epochs:
            self._view.discard(state)
            return None
        _log.info(f"{self._view.name}_snapshot_loaded", **self._view.size(state))
        return state, place

    def _read(self, topic: str, reader: TopicReader, timeout_s: float) -> None:
        self._turn()
        if self._other_log.is_set():
            self._other_log.clear()
            raise StartAgain("the incarnation of a topic changed", trust_snapshots=True)
        if self._rebuild_wanted.is_set():
            self._rebuild_wanted.clear()
            raise StartAgain("a rebuild was asked for")
        records = reader.poll(_POLL_RECORDS, timeout_s)
        if not records:
            return
        self._feed.apply(topic, records, self._turn)
        state = self._feed.state
        if state is not None and state is self._served:
            self._serve(state)

    def _serve_caught_up(self) -> None:
        assert self._feed.state is not None
        self._serve(self._feed.state)
        self._on_caught_up()
        self._caught_up = True
        _log.info(f"{self._view.name}_caught_up", **self._view.size(self._feed.state))

    def _serve(self, state: S) -> None:
        self._view.serve(state, self._feed.place.copy())
        self._served = state

    def _pause(self) -> None:
        self._turn()
        self._stop.wait(_BACKOFF_S)

    def _turn(self) -> None:
        """Show that the loop turns. A state may hold a record up while it is busy: that is no standstill."""
        self._tick = self._clock.monotonic()

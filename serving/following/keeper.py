"""Does what may take long, beside the follower: snapshots, the distance to the end, and whether the log is the same."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic

import structlog

from core.clock import Clock
from core.errors import Unavailable
from monitoring.catalogue import INDEX_LAG, INDEX_SNAPSHOT_AGE
from monitoring.recorder import Recorder
from serving.following.feed import Feed
from serving.following.topic_log import TopicLog
from serving.following.view import S, View

_log = structlog.get_logger(__name__)

_EVERY_S = 5.0
_EVERY_S_AT_FIRST = 0.5  # what a state holds grows fast while it catches up


class Keeper(Generic[S]):
    """Keeps one feed. `run` is a thread's; the rest may be called from any."""

    def __init__(
        self,
        feed: Feed[S],
        view: View[S],
        logs: Mapping[str, TopicLog],
        *,
        snapshot_interval_s: float,
        on_other_log: Callable[[], None],
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """`on_other_log` is called when a topic is not the one that was read any more."""
        self._feed = feed
        self._view = view
        self._logs = logs
        self._snapshot_interval_s = snapshot_interval_s
        self._on_other_log = on_other_log
        self._recorder = recorder
        self._clock = clock
        self._saving = threading.Lock()
        self._saved_changes = 0
        self.lag = 0  # records in the log that are not applied yet, when last looked at

    def run(self, stop: threading.Event, caught_up: Callable[[], bool]) -> None:
        """Keep until `stop`: measure at once, look at the log and save only what has caught up with it."""
        last_snapshot = self._clock.monotonic()
        while not stop.wait(_EVERY_S if caught_up() else _EVERY_S_AT_FIRST):
            try:
                self._view.measure()
                if not caught_up():
                    continue
                self.look_at_log()
                if self._clock.monotonic() - last_snapshot >= self._snapshot_interval_s:
                    last_snapshot = self._clock.monotonic()
                    self.save()
            except Unavailable as error:
                _log.warning(f"{self._view.name}_log_unavailable", error=str(error))
            except Exception:  # the keeper's failure must show, and must not end it
                _log.exception(f"{self._view.name}_keeper_failed")

    def look_at_log(self) -> None:
        """Measure how far behind the feed is, unless a topic is another one. Raises Unavailable."""
        place, lag = self._feed.place.copy(), 0
        for topic, log in self._logs.items():
            seen = log.look()
            if seen.epoch != place.epochs.get(topic):
                self._on_other_log()
                return
            lag += place.behind(topic, seen.ends)
        self.lag = lag
        self._recorder.set(INDEX_LAG, lag, index=self._view.metric)

    def save(self, *, force: bool = False) -> Path | None:
        """Write a snapshot and return its path; None where nothing changed since the last, unless forced to.

        None, too, where the view keeps none.
        """
        with self._saving:
            with self._feed.lock:
                state, changes = self._feed.state, self._feed.changes
                if state is None or (changes == self._saved_changes and not force):
                    return None
                write = self._view.capture(state, self._feed.place.copy())
            if write is None:
                return None
            path = write()
            self._saved_changes = changes
            self._recorder.set(INDEX_SNAPSHOT_AGE, self._clock.now().timestamp(), index=self._view.metric)
            return path

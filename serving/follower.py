"""Keeps the live index equal to `index.entries.v1`. How: `serving/following`; what of: `serving/index_view.py`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.settings import IndexSettings
from core.topics import INDEX_ENTRIES as TOPIC
from models.index import LiveIndex
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer
from serving.following.follower import Follower
from serving.following.topic_log import TopicLog
from serving.index_verification import Verification, verify
from serving.index_view import IndexView
from serving.served_index import ServedIndex

_POLL_S = 0.2
_VERIFY_TIMEOUT_S = 300.0
_REBUILD_TIMEOUT_S = 300.0


class IndexFollower(Follower[LiveIndex]):
    """Follows the log of entries in background threads between `start()` and `close()`."""

    def __init__(
        self,
        *,
        served: ServedIndex,
        log: TopicLog,
        folder: Path,
        settings: IndexSettings,
        recorder: Recorder,
        clock: Clock,
        name: str = "visual",
        tracer: Tracer = NO_TRACING,
        on_caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`folder` holds the snapshots. Entries of another model than the served index's are counted, not applied.

        `on_caught_up`: see `Follower`.
        """
        self._index_view = IndexView(
            served, folder, settings, metric=name, recorder=recorder, clock=clock, tracer=tracer
        )
        self._log = log
        self._served_index = served
        super().__init__(
            self._index_view,
            {TOPIC.name: log},
            poll_s=_POLL_S,
            snapshot_interval_s=settings.snapshot_interval_s,
            recorder=recorder,
            clock=clock,
            on_caught_up=on_caught_up,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Entries by what became of them."""
        return self._index_view.counts

    def verify(self, timeout_s: float = _VERIFY_TIMEOUT_S) -> Verification:
        """Compare the live index with one built from the beginning of the log: `serving/index_verification.py`.

        Raises:
            Unavailable: the log did not answer, or changed faster than it could be read.
        """
        return verify(self._feed, self._index_view, TOPIC.name, self._log, self._clock, timeout_s)

    def rebuild(self, timeout_s: float = _REBUILD_TIMEOUT_S) -> int:
        """Read the log again from its beginning and serve the result; return how many items it holds.

        Searches are answered by the old index until then.

        Raises:
            Unavailable: it took longer than `timeout_s`; it goes on.
        """
        return len(self.start_again(timeout_s))

    def describe(self) -> dict[str, Any]:
        """Return where the follower is and what it has met, for `GET /v1/index`."""
        return {
            **self._served_index.describe(),
            "caught_up": self.ready()[0],
            "entries": dict(self.counts),
            "rebuilds": self.rebuilds,
            "problem": self.problem,
        }

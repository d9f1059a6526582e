"""Keeps the recommender's live state equal to the log. How: `serving/following`; what of: `live_view.py`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.clock import Clock
from monitoring.recorder import Recorder
from serving.following.follower import Follower
from serving.following.topic_log import TopicLog
from serving.recommendation.live_state import LiveState
from serving.recommendation.live_view import LiveView
from serving.recommendation.served_state import ServedState
from serving.recommendation.topic_log import STREAMS
from storage.catalogue import Catalogue

_POLL_S = 0.05  # waited for interactions: how long a new upload may lie unread beside a silent topic


class LiveFollower(Follower[LiveState]):
    """Follows the log in background threads between `start()` and `close()`.

    To catch up, uploads are read to their end, then users, then interactions, so that an interaction finds its video.
    """

    def __init__(
        self,
        *,
        served: ServedState,
        logs: Mapping[str, TopicLog],
        make_state: Callable[[], LiveState],
        folder: Path,
        recorder: Recorder,
        clock: Clock,
        snapshot_interval_s: float = 300.0,
        snapshots_kept: int = 2,
        max_future_s: float = 300.0,
        catalogue: Catalogue | None = None,
        on_caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`folder` holds the snapshots; `logs` has one log for each of `STREAMS`.

        Args:
            make_state: makes an empty state.
            max_future_s: an event further ahead of the clock is counted as invalid and not applied.
            catalogue: tells the videos that are older than the log, where there is no snapshot.
            on_caught_up: see `Follower`.
        """
        self._live_view = LiveView(
            served,
            folder,
            make_state,
            snapshots_kept=snapshots_kept,
            max_future_s=max_future_s,
            catalogue=catalogue,
            recorder=recorder,
            clock=clock,
        )
        self._served_state = served
        super().__init__(
            self._live_view,
            {stream: logs[stream] for stream in STREAMS},
            poll_s=_POLL_S,
            snapshot_interval_s=snapshot_interval_s,
            recorder=recorder,
            clock=clock,
            on_caught_up=on_caught_up,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Events by what became of them: see `LiveState.apply`; and `invalid`, `failed`."""
        return self._live_view.counts

    def describe(self) -> dict[str, Any]:
        """Return where the follower is and what it has met."""
        state, place = self._served_state.current, self.place
        return {
            "videos": state.videos.rows,
            "users": len(state.audience),
            "users_forgotten": state.audience.forgotten,
            "clock_s": state.clock_s,
            "caught_up": self.ready()[0],
            "positions": place.positions,
            "epochs": place.epochs,
            "events": dict(self.counts),
            "lag_records": self.lag,
            "rebuilds": self.rebuilds,
            "problem": self.problem,
        }

"""Keeps the restrictions equal to `moderation.verdicts.v1`. How: `serving/following`; what of: `view.py`."""

import math
from typing import Any

from core.clock import Clock
from core.topics import VERDICTS as TOPIC
from monitoring.recorder import Recorder
from serving.following.follower import Follower
from serving.following.topic_log import TopicLog
from serving.restrictions.served import Restrictions
from serving.restrictions.state import RestrictionState
from serving.restrictions.view import RestrictionsView

_POLL_S = 0.2


class RestrictionsFollower(Follower[RestrictionState]):
    """Follows the log of verdicts in background threads between `start()` and `close()`."""

    def __init__(self, *, served: Restrictions, log: TopicLog, recorder: Recorder, clock: Clock) -> None:
        self._restrictions_view = RestrictionsView(served, recorder=recorder, clock=clock)
        self._served_restrictions = served
        super().__init__(
            self._restrictions_view,
            {TOPIC.name: log},
            poll_s=_POLL_S,
            snapshot_interval_s=math.inf,
            recorder=recorder,
            clock=clock,
        )
        served.ready = self.ready

    @property
    def counts(self) -> dict[str, int]:
        """Verdicts by what became of them."""
        return self._restrictions_view.counts

    def describe(self) -> dict[str, Any]:
        """Return where the follower is and what it has met, for `GET /v1/restrictions`."""
        place = self.place
        return {
            "epoch": place.epochs.get(TOPIC.name, ""),
            "positions": {str(partition): offset for partition, offset in sorted(place.of(TOPIC.name).items())},
            "caught_up": self.ready()[0],
            "entries": dict(self.counts),
            "lag_records": self.lag,
            "rebuilds": self.rebuilds,
            "problem": self.problem,
        }

"""Exploration: every new video is promised some impressions, and the ledger says who is owed them and who got them.

A video is promised N impressions within T hours of its upload. Nothing has to be written down for that: the live state
knows when each video was uploaded, how often it was shown and when it was shown for the Nth time, and so does every
replica, also after a restart.
"""

import math
import threading

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import Clock
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Proposal, Rows, Viewer
from serving.recommendation.vocabulary import primary_language

_REFRESH_S = 1.0
_LISTED = 2_000  # of the videos that are owed impressions: who is not among them now will be
_PROPOSED = 200


class PromisesReport(msgspec.Struct, frozen=True):
    """Promises of the last days: of videos that may be shown, the others are owed nothing."""

    kept: int  # N impressions came in time
    broken: int  # the time is over, and they did not
    open: int
    impressions: int  # promised to each
    hours: float
    days: float  # how long ago a promise may have ended to be counted

    @property
    def kept_ratio(self) -> float:
        """Return kept among those that have ended; NaN before the first has."""
        ended = self.kept + self.broken
        return self.kept / ended if ended else math.nan


class ExplorationLedger:
    """Knows which videos are owed impressions. A generator, too: it proposes them. Thread-safe."""

    name = "exploration"

    def __init__(
        self, state: LiveState, *, impressions: int, hours: float, clock: Clock, report_days: float = 7.0
    ) -> None:
        """`impressions` must be those after which the live state notes the time (`promised_impressions`)."""
        self._state = state
        self._impressions = impressions
        self._within_s = hours * 3600
        self._clock = clock
        self._report_s = report_days * 86_400
        self._lock = threading.Lock()
        self._owed: Rows = np.zeros(0, np.int64)
        self._looked_s = -math.inf
        self._report: PromisesReport | None = None
        self._reported_s = -math.inf

    def owed(self) -> Rows:
        """Return the videos that are owed impressions, the 2,000 furthest behind, in order (a second old at most).

        Behind is who has the smallest share of the promise for the share of the time that has passed. What may be shown
        to some only is listed, too.
        """
        now_s = self._clock.now().timestamp()
        with self._lock:
            if not 0 <= now_s - self._looked_s < _REFRESH_S:
                self._owed, self._looked_s = self._look(now_s), now_s
            return self._owed

    def is_due(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows `(n,)` are owed impressions now."""
        state, now_s = self._state, self._clock.now().timestamp()
        created = state.first_seen_s[rows]
        return (created > now_s - self._within_s) & (state.impressions[rows] < self._impressions)

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        """Propose what is owed most, to viewers who may be shown it and have not seen it.

        Videos in the viewer's language come first where it is known: an impression should have a chance.
        """
        videos, rows = self._state.videos, self.owed()
        if not len(rows):
            return Proposal(rows, np.zeros(0, np.float32))
        rows = rows[videos.admissible(rows, viewer.country) & ~self._state.audience.seen(viewer.user_id).mask(rows)]
        if viewer.language is not None:
            language = videos.languages.code(primary_language(viewer.language))
            rows = np.concatenate([rows[videos.language[rows] == language], rows[videos.language[rows] != language]])
        rows = rows[: min(limit, _PROPOSED)]
        return Proposal(rows, (1 / (1 + np.arange(len(rows)))).astype(np.float32))

    def report(self) -> PromisesReport:
        """Return how many promises were kept, broken, and are open (a second old at most)."""
        now_s = self._clock.now().timestamp()
        with self._lock:
            if self._report is None or not 0 <= now_s - self._reported_s < _REFRESH_S:
                self._report, self._reported_s = self._count(now_s), now_s
            return self._report

    def _count(self, now_s: float) -> PromisesReport:
        state = self._state
        videos = state.videos.rows
        created, reached = state.first_seen_s[:videos], state.reached_s[:videos]
        recent = np.flatnonzero(created > now_s - self._within_s - self._report_s)
        recent = recent[state.videos.admissible(recent, None)]
        deadline = created[recent] + self._within_s
        kept = reached[recent] <= deadline  # NaN is not
        over = deadline <= now_s
        return PromisesReport(
            kept=int(kept.sum()),
            broken=int((over & ~kept).sum()),
            open=int((~over & ~kept).sum()),
            impressions=self._impressions,
            hours=self._within_s / 3600,
            days=self._report_s / 86_400,
        )

    def _look(self, now_s: float) -> Rows:
        state = self._state
        rows = np.flatnonzero(state.first_seen_s > now_s - self._within_s)
        shown = state.impressions[rows]
        rows, shown = rows[shown < self._impressions], shown[shown < self._impressions]
        may = (state.videos.flags[rows] == 0) & (state.videos.factors(rows) == 1)  # what is demoted is owed nothing
        rows, shown = rows[may], shown[may]
        passed = np.clip((now_s - state.first_seen_s[rows]) / self._within_s, 1e-6, 1.0)
        behind = shown / self._impressions / passed
        return rows[np.argsort(behind, kind="stable")][:_LISTED]

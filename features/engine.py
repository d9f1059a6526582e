"""Exact, crash-safe aggregation of interactions into the online store.

`apply` counts a batch in one transaction of `FeatureState`; only then may the source offsets be committed. `flush`
pushes the rows of touched entities, which can be repeated freely: a row is computed from counts, never added to. What
a crash leaves between the two is in the dirty set, and the next `flush` repairs it. `sweep` pushes entities whose
windows changed because time passed.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.clock import Clock
from core.locks import file_lock, hold_shared
from core.settings import FeatureSettings
from features.buckets import Buckets
from features.counting import ApplyResult, Limits, count
from features.interactions import OTHER_SURFACE, SURFACE_ID, SURFACES, VIEW_IDS, LocatedEvent, to_us
from features.schema import BY_NAME, DAY_US, WINDOWS
from features.state import Claim, FeatureState, feature_folder
from features.transforms.windows import NEVER_US, bucket_sums, features, next_changes_us, oldest_starts_us

if TYPE_CHECKING:
    from features.online import OnlineStore

_VIEWS = {number: BY_NAME[name] for name, number in VIEW_IDS.items()}


@dataclass(frozen=True)
class SurfaceTotals:
    """What happened on one surface in one trailing window."""

    surface: str
    window: str  # day, week, month
    impressions: int
    clicks: int
    time_spent_s: float


class FeatureEngine:
    """Counts interactions and keeps the online store in step. One per process; safe for threads.

    Several processes may share a home: transactions take turns, and only one pushes at a time. Calls to `apply` must
    bring the offsets of a partition in order (what Kafka does); within a call the order does not matter.
    """

    def __init__(
        self,
        folder: Path,
        state: FeatureState,
        connect: Callable[[], "OnlineStore"],
        settings: FeatureSettings,
        clock: Clock,
    ) -> None:
        """`connect` opens the online store; it is called when the store is first needed, or by `connect()`."""
        self._state = state
        self._connect = connect
        self._online: OnlineStore | None = None
        self._clock = clock
        self._limits = Limits.of(settings)
        self._ttl_us = round(settings.ttl_days * DAY_US)
        self._push_lock = folder / "push.lock"
        self._threads = threading.Lock()
        self._in_use = hold_shared(folder / "engine.lock")

    @classmethod
    def open(cls, home: Path, settings: FeatureSettings, clock: Clock) -> "FeatureEngine":
        """Open the state under `home`; counting can begin at once, the online store is opened by the first push.

        What a crash left unpushed is pushed by the first `flush`.

        Raises:
            Unavailable: a rebuild is running.
            IntegrityError: the state file is damaged or from a newer release.
        """

        def connect() -> "OnlineStore":
            from features.online import OnlineStore  # imports Feast, which takes seconds

            return OnlineStore.open(home, settings)

        folder = feature_folder(home)
        return cls(folder, FeatureState.open(folder / "state.db"), connect, settings, clock)

    def connect(self) -> None:
        """Open the online store, if it is not open yet. Raises Unavailable when it cannot be reached."""
        with self._threads:
            if self._online is None:
                self._online = self._connect()

    def close(self) -> None:
        """Close state and online store; nothing is pushed."""
        if self._online is not None:
            self._online.close()
        self._state.close()
        self._in_use.close()

    def apply(self, records: Sequence[LocatedEvent]) -> ApplyResult:
        """Count a batch of interactions, exactly once each, durably when this returns.

        An event is a duplicate when its offset is below its partition's fence, or its id was counted before (as long
        as ids are kept: `max_lateness_days` + 1 day of event time). An offset equal to the fence is decided by id,
        since the events of one frame share an offset and may come in two batches.

        Raises:
            Unavailable: the state is locked by another process; nothing was counted.
        """
        return count(self._state, records, to_us(self._clock.now()), self._limits)

    def flush(self, limit: int = 1000) -> int:
        """Push the rows of every dirty entity, `limit` at a time, longest waiting first; return how many.

        Raises:
            Unavailable: the online store did not answer; what was not pushed stays dirty.
        """
        self.connect()
        pushed = 0
        with self._threads, file_lock(self._push_lock):
            # What becomes dirty meanwhile is left to the next call, so that this one ends.
            remaining = self._state.dirty_count()
            while remaining > 0:
                claims, buckets = self._state.claim(min(limit, remaining), to_us(self._clock.now()))
                if not claims:
                    break
                self._push(claims, buckets)
                self._state.settle(claims, _next_changes(claims, buckets))
                pushed += len(claims)
                remaining -= len(claims)
        return pushed

    def sweep(self) -> int:
        """Push every entity whose windows changed because time passed; return how many were due.

        Call it about once a minute: a window changes at most once an hour, at the full hour.

        Raises:
            Unavailable: as `flush`.
        """
        now_us = to_us(self._clock.now())
        oldest_us = oldest_starts_us(now_us)
        due = self._state.mark_due(now_us, oldest_us, now_us - self._ttl_us)
        self._state.forget_totals(SURFACE_ID, oldest_us)
        self.flush()
        return due

    def pending(self) -> int:
        """Return how many entities wait to be pushed."""
        return self._state.dirty_count()

    def surfaces(self) -> list[SurfaceTotals]:
        """Return what happened on every known surface, per window: the online metrics."""
        now_us = to_us(self._clock.now())
        names, buckets = self._state.totals(SURFACE_ID)
        as_of = np.full(len(names), now_us, np.int64)
        sums = bucket_sums(buckets.group, buckets.width_us, buckets.start_us, buckets.counts, as_of).tolist()
        nothing = [(0, 0, 0)] * len(WINDOWS)
        found = dict(zip(names, sums, strict=True))
        return [
            SurfaceTotals(surface, window.name, impressions, clicks, time_spent_ms / 1000)
            for surface in (*SURFACES, OTHER_SURFACE)
            for window, (impressions, clicks, time_spent_ms) in zip(WINDOWS, found.get(surface, nothing), strict=True)
        ]

    def positions(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return `{(topic, partition): (epoch, last applied offset)}`."""
        return self._state.fences()

    def _push(self, claims: Sequence[Claim], buckets: Buckets) -> None:
        assert self._online is not None  # `flush` has connected
        as_of = np.array([claim.as_of_us for claim in claims], np.int64)
        sums = bucket_sums(buckets.group, buckets.width_us, buckets.start_us, buckets.counts, as_of)
        rows = features(sums)
        for number, view in _VIEWS.items():
            chosen = [index for index, claim in enumerate(claims) if claim.view == number]
            self._online.write(view, [claims[index].entity for index in chosen], as_of[chosen], rows[chosen])


def _next_changes(claims: Sequence[Claim], buckets: Buckets) -> list[int | None]:
    """Return, per claim, when its windows next change by themselves."""
    as_of = np.array([claim.as_of_us for claim in claims], np.int64)
    changes = next_changes_us(buckets.group, buckets.width_us, buckets.start_us, as_of).tolist()
    return [change if change != NEVER_US else None for change in changes]

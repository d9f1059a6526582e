"""Exact, crash-safe aggregation of interactions into the online store.

`apply` counts a batch in one transaction of `FeatureState`; only then may the source offsets be committed. `flush`
pushes the rows of touched entities, which can be repeated freely: a row is computed from counts, never added to. What
a crash leaves between the two is in the dirty set, and the next `flush` repairs it. `sweep` pushes entities whose
windows changed because time passed.
"""

import hashlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.clock import Clock
from core.settings import FeatureSettings
from features.interactions import VIEW_IDS, LocatedEvent, counts_of, is_late, to_us
from features.locks import file_lock, hold_shared
from features.schema import BUCKET_WIDTHS_US, BY_NAME, DAY_US, WINDOWS
from features.state import BucketKey, Buckets, Claim, EntityKey, FeatureState
from features.transforms.windows import bucket_sums, features, next_change_us, window_start_us

if TYPE_CHECKING:
    from features.online import OnlineStore

_ITEM = VIEW_IDS["item_stats"]
_USER = VIEW_IDS["user_stats"]
_VIEWS = {number: BY_NAME[name] for name, number in VIEW_IDS.items()}


@dataclass(frozen=True)
class ApplyResult:
    """What became of a batch."""

    applied: int  # counted, or of a type that is not counted
    duplicates: int  # seen before, by offset or by event id
    late: tuple[LocatedEvent, ...]  # too old to be counted: dead letters
    touched: frozenset[EntityKey]  # (view id, entity id) of what changed


class FeatureEngine:
    """Counts interactions and keeps the online store in step. One per process; safe for threads.

    Several processes may share a home: transactions take turns, and only one pushes at a time. Calls to `apply` must
    bring the offsets of a partition in order (what Kafka does); within a call the order does not matter.
    """

    def __init__(
        self, folder: Path, state: FeatureState, online: "OnlineStore", settings: FeatureSettings, clock: Clock
    ) -> None:
        self._state = state
        self._online = online
        self._clock = clock
        self._max_lateness_us = round(settings.max_lateness_days * DAY_US)
        self._keep_ids_days = math.ceil(settings.max_lateness_days) + 1
        self._ttl_us = round(settings.ttl_days * DAY_US)
        self._push_lock = folder / "push.lock"
        self._threads = threading.Lock()
        self._in_use = hold_shared(folder / "engine.lock")

    @classmethod
    def open(cls, home: Path, settings: FeatureSettings, clock: Clock) -> "FeatureEngine":
        """Open state and online store under `home`.

        What a crash left unpushed is pushed by the first `flush`.

        Raises:
            Unavailable: the online store cannot be reached, or a rebuild is running.
            IntegrityError: the state file is damaged or from a newer release.
        """
        from features.online import OnlineStore, feature_folder  # imports Feast, which takes seconds

        folder = feature_folder(home)
        online = OnlineStore.open(home, settings)
        return cls(folder, FeatureState.open(folder / "state.db"), online, settings, clock)

    def close(self) -> None:
        """Close state and online store; nothing is pushed."""
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
        now_us = to_us(self._clock.now())
        with self._state.transaction():
            fences = self._state.fences()
            fresh: list[tuple[bytes, LocatedEvent]] = []
            ahead = dict(fences)
            duplicates = 0
            for record in records:
                place = (record.topic, record.partition)
                epoch, last = fences.get(place, ("", -1))
                if record.epoch == epoch and record.offset < last:
                    duplicates += 1
                    continue
                epoch, last = ahead.get(place, ("", -1))
                if record.epoch != epoch or record.offset > last:
                    ahead[place] = (record.epoch, record.offset)
                digest = hashlib.blake2b(record.event.id.encode(), digest_size=16).digest()
                fresh.append((digest, record))
            self._state.forget_before(now_us // DAY_US - self._keep_ids_days)
            batch = _Batch(self._state.seen([digest for digest, _ in fresh]), self._state.forgotten_before_day())
            for digest, record in fresh:
                batch.add(digest, record, now_us, self._max_lateness_us)
            self._state.remember(batch.new_ids.items())
            self._state.add(batch.counts, batch.newest_us)
            self._state.set_fences({place: fence for place, fence in ahead.items() if fence != fences.get(place)})
        return ApplyResult(batch.applied, duplicates + batch.duplicates, tuple(batch.late), frozenset(batch.newest_us))

    def flush(self, limit: int = 1000) -> int:
        """Push the rows of every dirty entity, `limit` at a time, longest waiting first; return how many.

        Raises:
            Unavailable: the online store did not answer; what was not pushed stays dirty.
        """
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
        now = np.asarray([now_us], np.int64)
        oldest = [
            min(int(window_start_us(now, window)[0]) for window in WINDOWS if window.bucket_us == width)
            for width in BUCKET_WIDTHS_US
        ]
        due = self._state.mark_due(now_us, oldest, now_us - self._ttl_us)
        self.flush()
        return due

    def pending(self) -> int:
        """Return how many entities wait to be pushed."""
        return self._state.dirty_count()

    def positions(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return `{(topic, partition): (epoch, last applied offset)}`."""
        return self._state.fences()

    def _push(self, claims: Sequence[Claim], buckets: Buckets) -> None:
        as_of = np.array([claim.as_of_us for claim in claims], np.int64)
        sums = bucket_sums(buckets.group, buckets.width_us, buckets.start_us, buckets.counts, as_of)
        rows = features(sums)
        for number, view in _VIEWS.items():
            chosen = [index for index, claim in enumerate(claims) if claim.view == number]
            self._online.write(view, [claims[index].entity for index in chosen], as_of[chosen], rows[chosen])


class _Batch:
    """The counts of one batch, gathered in memory before they are added to the state."""

    def __init__(self, seen: set[bytes], forgotten_before_day: int) -> None:
        self._seen = seen
        self._forgotten_before_day = forgotten_before_day
        self.new_ids: dict[bytes, int] = {}
        self.counts: dict[BucketKey, list[int]] = {}
        self.newest_us: dict[EntityKey, int] = {}
        self.late: list[LocatedEvent] = []
        self.applied = 0
        self.duplicates = 0

    def add(self, digest: bytes, record: LocatedEvent, now_us: int, max_lateness_us: int) -> None:
        event = record.event
        counts = counts_of(event)
        if counts is None:
            self.applied += 1
            return
        if digest in self._seen or digest in self.new_ids:
            self.duplicates += 1
            return
        time_us = to_us(event.time)
        arrived_us = now_us if record.timestamp_ms is None else min(now_us, record.timestamp_ms * 1000)
        day = time_us // DAY_US
        # Where ids are forgotten, a repetition could not be told from a first time.
        if is_late(time_us, arrived_us, max_lateness_us) or day < self._forgotten_before_day:
            self.late.append(record)
            return
        self.new_ids[digest] = day
        self.applied += 1
        self._count(_USER, event.data.user_id, time_us, counts)
        if event.data.item_id is not None:
            self._count(_ITEM, event.data.item_id, time_us, counts)

    def _count(self, view: int, entity: str, time_us: int, counts: tuple[int, int, int]) -> None:
        for width, width_us in enumerate(BUCKET_WIDTHS_US):
            key = (view, entity, width, time_us - time_us % width_us)
            bucket = self.counts.get(key)
            if bucket is None:
                self.counts[key] = list(counts)
            else:
                bucket[0] += counts[0]
                bucket[1] += counts[1]
                bucket[2] += counts[2]
        if time_us > self.newest_us.get((view, entity), -1):
            self.newest_us[view, entity] = time_us


def _next_changes(claims: Sequence[Claim], buckets: Buckets) -> list[int | None]:
    """Return, per claim, when its windows next change by themselves."""
    order = np.argsort(buckets.group, kind="stable")
    bounds = np.searchsorted(buckets.group[order], np.arange(len(claims) + 1))
    changes: list[int | None] = []
    for index, claim in enumerate(claims):
        rows = order[bounds[index] : bounds[index + 1]]
        changes.append(next_change_us(buckets.width_us[rows], buckets.start_us[rows], claim.as_of_us))
    return changes

"""Batches of interactions into bucketed counts, each event once."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.settings import FeatureSettings
from features.interactions import SURFACE_ID, VIEW_IDS, Counts, LocatedEvent, counts_of, is_late, surface_of, to_us
from features.schema import BUCKET_WIDTHS_US, DAY_US
from features.state import BucketKey, EntityKey, FeatureState

_ITEM = VIEW_IDS["item_stats"]
_USER = VIEW_IDS["user_stats"]


@dataclass(frozen=True)
class Limits:
    """How old an event may be when it arrives, and for how many days of event time ids are kept."""

    max_lateness_us: int
    keep_ids_days: int

    @classmethod
    def of(cls, settings: FeatureSettings) -> "Limits":
        days = settings.max_lateness_days
        return cls(round(days * DAY_US), math.ceil(days) + 1)


@dataclass(frozen=True)
class ApplyResult:
    """What became of a batch."""

    applied: int  # counted, or of a type that is not counted
    duplicates: int  # seen before, by offset or by event id
    late: tuple[LocatedEvent, ...]  # too old to be counted: dead letters
    touched: frozenset[EntityKey]  # (view id, entity id) of what changed


def count(
    state: FeatureState, records: Sequence[LocatedEvent], now_us: int, limits: Limits, *, replayed: bool = False
) -> ApplyResult:
    """Count a batch in one transaction; what `FeatureEngine.apply` promises is kept here.

    Args:
        replayed: the records come from the archive, in no order of offsets and from any time: fences are neither
            asked nor set, and age does not matter (the caller chose the events).
    """
    fresh: list[tuple[bytes, LocatedEvent]] = []
    duplicates = 0
    with state.transaction():
        fences = {} if replayed else state.fences()
        ahead = dict(fences)
        for record in records:
            if not replayed:
                place = (record.topic, record.partition)
                fence = fences.get(place)
                if fence is not None and fence[0] == record.epoch and record.offset < fence[1]:
                    duplicates += 1
                    continue
                reached = ahead.get(place)
                if reached is None or reached[0] != record.epoch or record.offset > reached[1]:
                    ahead[place] = (record.epoch, record.offset)
            fresh.append((hashlib.blake2b(record.event.id.encode(), digest_size=16).digest(), record))
        if not replayed:
            state.forget_before(now_us // DAY_US - limits.keep_ids_days)
        batch = _Batch(state.seen([digest for digest, _ in fresh]), state.forgotten_before_day())
        for digest, record in fresh:
            batch.add(digest, record, now_us, limits.max_lateness_us)
        state.remember(batch.new_ids.items())
        state.add(batch.counts, batch.newest_us)
        state.set_fences({place: fence for place, fence in ahead.items() if fence != fences.get(place)})
    return ApplyResult(batch.applied, duplicates + batch.duplicates, tuple(batch.late), frozenset(batch.newest_us))


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
        self._touch(_USER, event.data.user_id, time_us)
        if event.data.item_id is not None:
            self._count(_ITEM, event.data.item_id, time_us, counts)
            self._touch(_ITEM, event.data.item_id, time_us)
        self._count(SURFACE_ID, surface_of(event), time_us, counts)

    def _count(self, view: int, entity: str, time_us: int, counts: Counts) -> None:
        for width, width_us in enumerate(BUCKET_WIDTHS_US):
            key = (view, entity, width, time_us - time_us % width_us)
            bucket = self.counts.get(key)
            if bucket is None:
                self.counts[key] = list(counts)
            else:
                bucket[0] += counts[0]
                bucket[1] += counts[1]
                bucket[2] += counts[2]

    def _touch(self, view: int, entity: str, time_us: int) -> None:
        if time_us > self.newest_us.get((view, entity), -1):
            self.newest_us[view, entity] = time_us

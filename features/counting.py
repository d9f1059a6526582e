"""Batches of interactions into bucketed counts, each event once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.settings import FeatureSettings
from features.delta import Delta, EntityKey, HourKey
from features.interactions import COUNTS_BY_TYPE, EPOCH, SURFACE_ID, VIEW_IDS, LocatedEvent, counts_of, known_surface
from features.schema import BUCKET_WIDTHS_US, DAY_US
from features.seen_ids import digest
from features.state import FeatureState

_ITEM = VIEW_IDS["item_stats"]
_USER = VIEW_IDS["user_stats"]
HOUR_US = BUCKET_WIDTHS_US[0]  # what batches are summed by; the other widths are multiples of it

_Sums = dict[str, list[int]]
Fences = dict[tuple[str, int], tuple[str, int]]  # (topic, partition) -> (epoch, last applied offset)


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
    with state.transaction():
        fences: Fences = {} if replayed else state.fences()
        fresh, ahead = (records, {}) if replayed else _beyond(fences, records)
        if not replayed:
            state.forget_before(now_us // DAY_US - limits.keep_ids_days)
        digests = [digest(record.event.id) for record in fresh]
        known = state.seen(digests)
        batch = _gather(digests, fresh, known, state.forgotten_before_day(), now_us, limits.max_lateness_us)
        if batch.delta.ids:
            state.append(batch.delta)
        state.set_fences({place: fence for place, fence in ahead.items() if fence != fences.get(place)})
    repeated = len(records) - len(fresh) + batch.duplicates
    return ApplyResult(batch.applied, repeated, tuple(batch.late), frozenset(batch.delta.newest_us))


def _beyond(fences: Fences, records: Sequence[LocatedEvent]) -> tuple[list[LocatedEvent], Fences]:
    """Return the records that are not below their partition's fence, and the fences when they are applied."""
    fresh: list[LocatedEvent] = []
    ahead: Fences = {}
    place: tuple[str, int] | None = None
    epoch, below, last = "", -1, -1
    for record in records:
        if place is None or (record.partition, record.topic, record.epoch) != (place[1], place[0], epoch):
            place, epoch = (record.topic, record.partition), record.epoch
            fence = fences.get(place)
            below = fence[1] if fence is not None and fence[0] == epoch else -1
            fence = ahead.get(place, fence)
            last = fence[1] if fence is not None and fence[0] == epoch else -1
        if record.offset < below:
            continue
        fresh.append(record)
        if record.offset > last:
            last = record.offset
            ahead[place] = (epoch, last)
    return fresh, ahead


@dataclass(frozen=True)
class _Batch:
    delta: Delta
    applied: int
    duplicates: int
    late: list[LocatedEvent]


def _gather(
    digests: Sequence[bytes],
    records: Sequence[LocatedEvent],
    known: set[bytes],
    forgotten_before_day: int,
    now_us: int,
    max_lateness_us: int,
) -> _Batch:
    """Sum a batch up in memory. One loop without calls where that can be: it is what the rate of counting hangs on."""
    ids: dict[bytes, int] = {}
    # By hour, for users, items and surfaces: counts, then the newest event's time. Almost all of a batch is of one
    # hour, so what is looked up for each event is a name, not a tuple to be made and hashed.
    by_hour: dict[int, tuple[_Sums, _Sums, _Sums]] = {}
    late: list[LocatedEvent] = []
    applied = duplicates = 0
    now_ms = now_us // 1000
    of_type = COUNTS_BY_TYPE.get
    surfaces: dict[str, str] = {}
    for key, record in zip(digests, records, strict=True):
        event = record.event
        added = of_type(type(event)) or counts_of(event)
        if added is None:
            applied += 1
            continue
        if key in known or key in ids:
            duplicates += 1
            continue
        data = event.data
        since = event.time - EPOCH  # `to_us`, without the call
        seconds = since.days * 86_400 + since.seconds
        time_us = seconds * 1_000_000 + since.microseconds
        day = time_us // DAY_US
        arrived_ms = record.timestamp_ms
        arrived_us = now_us if arrived_ms is None or arrived_ms > now_ms else arrived_ms * 1000
        # Where ids are forgotten, a repetition could not be told from a first time.
        if arrived_us - time_us > max_lateness_us or day < forgotten_before_day:
            late.append(record)
            continue
        ids[key] = day
        hour_us = time_us - time_us % HOUR_US
        surface = surfaces.get(data.surface) or surfaces.setdefault(data.surface, known_surface(data.surface))
        impressions, clicks, time_spent_ms = added
        sums = by_hour.get(hour_us)
        if sums is None:
            sums = by_hour[hour_us] = ({}, {}, {})
        users, items, places = sums
        for named, name in ((users, data.user_id), (items, data.item_id), (places, surface)):
            if name is None:
                continue
            held = named.get(name)
            if held is None:
                named[name] = [impressions, clicks, time_spent_ms, time_us]
                continue
            held[0] += impressions
            held[1] += clicks
            held[2] += time_spent_ms
            if time_us > held[3]:
                held[3] = time_us
    counts: dict[HourKey, list[int]] = {}
    newest_us: dict[EntityKey, int] = {}
    for hour_us, (users, items, places) in by_hour.items():
        for view, named in ((_USER, users), (_ITEM, items), (SURFACE_ID, places)):
            for name, held in named.items():
                time_us = held.pop()
                counts[view, name, hour_us] = held
                if view != SURFACE_ID and time_us > newest_us.get((view, name), -1):
                    newest_us[view, name] = time_us
    return _Batch(Delta(ids, counts, newest_us), applied + len(ids), duplicates, late)

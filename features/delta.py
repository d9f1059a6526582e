"""What a batch of events adds to the feature state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EntityKey = tuple[int, str]  # (view id, entity id)
HourKey = tuple[int, str, int]  # (view id, entity id, start of the hour in microseconds)


@dataclass(frozen=True)
class Delta:
    """What a batch adds: ids of its events with their days, counts by hour, and the newest event of each entity."""

    ids: Mapping[bytes, int]
    counts: Mapping[HourKey, Sequence[int]]
    newest_us: Mapping[EntityKey, int]

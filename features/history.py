"""The interactions that count, read from the archive: the same choice the live engine makes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import topics
from core.events import Interaction, InteractionEvent
from core.settings import FeatureSettings
from features.archive import ArchivedEvent, read_events
from features.interactions import counts_of, is_late, to_us
from features.schema import COUNTS, DAY_US, ITEM_STATS, View
from features.transforms.windows import Ints

_MAX_FUTURE_US = 300_000_000


@dataclass(frozen=True)
class Points:
    """What happened to the entities of one view: point `n` adds `counts[n]` to `entities[group[n]]`."""

    entities: list[str]
    group: Ints  # (n,)
    time_us: Ints  # (n,)
    counts: Ints  # (n, len(COUNTS))


def counted_events(
    archive: Path, settings: FeatureSettings, *, max_future_us: int = _MAX_FUTURE_US
) -> Iterator[tuple[ArchivedEvent, InteractionEvent]]:
    """Yield the archived interactions, each once, without those the stream turned away as late or as future."""
    lateness_us = round(settings.max_lateness_days * DAY_US)
    for archived in read_events(archive, topics.INTERACTIONS.name):
        event = archived.event
        if not isinstance(event.data, Interaction):
            continue
        time_us, arrived_us = to_us(event.time), archived.appended_ms * 1000
        if is_late(time_us, arrived_us, lateness_us) or time_us - arrived_us > max_future_us:
            continue
        yield archived, event  # type: ignore[misc]  # an Interaction's event is an InteractionEvent


def points(events: list[InteractionEvent], view: View) -> Points:
    """Return what the events add to the entities of a view."""
    groups: dict[str, int] = {}
    rows: list[tuple[int, ...]] = []
    for event in events:
        counts = counts_of(event)
        entity = event.data.item_id if view is ITEM_STATS else event.data.user_id
        if counts is not None and entity is not None:
            rows.append((groups.setdefault(entity, len(groups)), to_us(event.time), *counts))
    table = np.array(rows, np.int64).reshape(len(rows), 2 + len(COUNTS))
    return Points(list(groups), table[:, 0], table[:, 1], table[:, 2:])

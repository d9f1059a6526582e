"""Bucketed counts per entity: hours for the day window, days for the longer ones. The table `counts`."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.delta import EntityKey, HourKey
from features.schema import BUCKET_WIDTHS_US, COUNTS
from features.statements import as_json, read_columns, write_rows
from features.transforms.windows import Ints


@dataclass(frozen=True)
class Buckets:
    """The buckets of entities: `group` is an entity's position in the list; widths and starts in microseconds."""

    group: Ints  # (n,)
    width_us: Ints  # (n,)
    start_us: Ints  # (n,)
    counts: Ints  # (n, len(COUNTS))


def read_buckets(db: sqlite3.Connection, entities: Sequence[EntityKey]) -> Buckets:
    """Return all buckets of the entities."""
    columns: list[list[int]] = [[] for _ in range(3 + len(COUNTS))]
    for view in sorted({view for view, _ in entities}):
        places = [index for index, (of_view, _) in enumerate(entities) if of_view == view]
        found = read_columns(
            db,
            # The list is walked and the counts are searched, never the other way round.
            "FROM json_each(?) asked CROSS JOIN counts c ON c.view = ? AND c.entity = asked.value",
            ("asked.key", "c.width", "c.start_us", *(f"c.{name}" for name in COUNTS)),
            as_json([entities[index][1] for index in places]),
            view,
        )
        columns[0] += [places[key] for key in found[0]]
        columns[1] += [BUCKET_WIDTHS_US[width] for width in found[1]]
        for column, values in zip(columns[2:], found[2:], strict=True):
            column += values
    group, width_us, start_us, *counts = (np.array(column, np.int64) for column in columns)
    return Buckets(group, width_us, start_us, np.stack(counts, axis=1))


def add_to_buckets(db: sqlite3.Connection, counts: Mapping[HourKey, Sequence[int]]) -> None:
    """Add counts by hour to the buckets of every width."""
    for width, width_us in enumerate(BUCKET_WIDTHS_US):
        write_rows(
            db,
            "INSERT INTO counts",
            _rows(counts, width, width_us),
            "ON CONFLICT DO UPDATE SET impressions = impressions + excluded.impressions,"
            " clicks = clicks + excluded.clicks, time_spent_ms = time_spent_ms + excluded.time_spent_ms",
        )


def _rows(counts: Mapping[HourKey, Sequence[int]], width: int, width_us: int) -> list[tuple[int | str, ...]]:
    """Return rows of the table, of one bucket width, in the order of its key."""
    sums: dict[HourKey, list[int]] = {}
    for (view, entity, hour_us), added in counts.items():
        held = sums.setdefault((view, entity, hour_us - hour_us % width_us), [0] * len(COUNTS))
        for index, number in enumerate(added):
            held[index] += number
    return [(view, entity, width, start_us, *row) for (view, entity, start_us), row in sorted(sums.items())]

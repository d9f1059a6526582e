"""Aggregates over trailing windows: the one implementation behind stream, batch and serving.

A point is something countable at a time: an event, or a bucket of events stood for by its start. A window as of `t`
holds the points with `start(t) <= time < t`, where `start` lies on a bucket boundary (`window_start_us`). A bucket
that starts inside the window therefore lies inside it with all its events, so summing buckets and summing events
give the same integers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from features.schema import BUCKET_WIDTHS_US, WINDOWS, Window

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: A time that does not come.
NEVER_US = np.iinfo(np.int64).max

#: The prior of `click_through_rate`: one click in twenty impressions, worth twenty impressions of evidence.
PRIOR_CLICKS = 1.0
PRIOR_IMPRESSIONS = 20.0


def window_start_us(as_of_us: Ints, window: Window) -> Ints:
    """Return the first microsecond inside `window` as of each time; the bucket of `as_of - 1` is the last one."""
    last_bucket = (as_of_us - 1) // window.bucket_us
    return (last_bucket - (window.buckets - 1)) * window.bucket_us


def oldest_starts_us(as_of_us: int) -> list[int]:
    """Return, per bucket width, the start of the oldest bucket that some window holds as of a time."""
    as_of = np.asarray([as_of_us], np.int64)
    return [
        min(int(window_start_us(as_of, window)[0]) for window in WINDOWS if window.bucket_us == width)
        for width in BUCKET_WIDTHS_US
    ]


def window_sums(
    group: Ints, time_us: Ints, counts: Ints, as_of_group: Ints, as_of_us: Ints, windows: Sequence[Window] = WINDOWS
) -> Ints:
    """Sum the counts of each group's points inside each window.

    Args:
        group: `(n,)` the entity of each point, as small non-negative integers.
        time_us: `(n,)` the time of each point.
        counts: `(n, m)` what each point adds.
        as_of_group: `(q,)` the entity asked about.
        as_of_us: `(q,)` the time asked about; points at or after it are not seen.
        windows: the windows to sum over.

    Returns:
        `(q, len(windows), m)` sums.

    Raises:
        InvalidInput: too many groups over too long a time for one call (their product must fit 63 bits).
    """
    sums = np.zeros((len(as_of_us), len(windows), counts.shape[1]), dtype=np.int64)
    if not len(time_us) or not len(as_of_us):
        return sums
    first = int(time_us.min())
    span = int(time_us.max()) - first + 2
    groups = int(max(group.max(), as_of_group.max())) + 1
    if groups * span >= 2**63:
        raise InvalidInput(f"{groups} entities over {span} us do not fit one call; pass fewer entities at a time")
    keys = group * span + (time_us - first)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    running = np.concatenate([np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts[order], axis=0)])

    def position(times: Ints) -> Any:
        """Return how many points come before each time within its group (plus all of the groups before it)."""
        return np.searchsorted(keys, as_of_group * span + np.clip(times - first, 0, span - 1), side="left")

    end = position(as_of_us)
    for index, window in enumerate(windows):
        sums[:, index] = running[end] - running[position(window_start_us(as_of_us, window))]
    return sums


def bucket_sums(group: Ints, width_us: Ints, start_us: Ints, counts: Ints, as_of_us: Ints) -> Ints:
    """Sum bucketed counts into all windows, for entity 0, 1, ... as of `as_of_us[entity]`.

    Args:
        group: `(n,)` entity of each bucket; `width_us`, `start_us`: `(n,)` its width and start; `counts`: `(n, m)`.
        as_of_us: `(q,)` one time per entity.

    Returns:
        `(q, len(WINDOWS), m)` sums, as `window_sums` over the events behind the buckets.
    """
    entities = np.arange(len(as_of_us), dtype=np.int64)
    sums = np.zeros((len(as_of_us), len(WINDOWS), counts.shape[1]), dtype=np.int64)
    for width in BUCKET_WIDTHS_US:
        chosen = [index for index, window in enumerate(WINDOWS) if window.bucket_us == width]
        rows = width_us == width
        sums[:, chosen] = window_sums(
            group[rows], start_us[rows], counts[rows], entities, as_of_us, [WINDOWS[index] for index in chosen]
        )
    return sums


def click_through_rate(clicks: NDArray[Any], impressions: NDArray[Any]) -> Floats:
    """Return the smoothed rate `(clicks + 1) / (max(impressions, clicks) + 20)`, elementwise.

    The posterior mean under a Beta(1, 19) prior, so that one lucky click on one impression does not rank first. A
    click proves an impression even where that one was lost, hence the maximum: the rate stays inside (0, 1).
    """
    return np.asarray((clicks + PRIOR_CLICKS) / (np.maximum(impressions, clicks) + PRIOR_IMPRESSIONS), np.float64)


def features(sums: Ints) -> Floats:
    """Turn `(q, len(WINDOWS), len(COUNTS))` sums into `(q, len(WINDOW_FEATURES))` columns, in schema order."""
    impressions, clicks, time_ms = sums[..., 0], sums[..., 1], sums[..., 2]
    columns = np.stack([impressions, clicks, click_through_rate(clicks, impressions), time_ms / 1000.0], axis=-1)
    return np.asarray(columns.reshape(len(sums), -1), np.float64)


def next_changes_us(group: Ints, width_us: Ints, start_us: Ints, as_of_us: Ints) -> Ints:
    """Return when the first bucket that a window holds leaves it, for entity 0, 1, ... as of `as_of_us[entity]`.

    Args:
        group: `(n,)` entity of each bucket; `width_us`, `start_us`: `(n,)` its width and start.
        as_of_us: `(q,)` one time per entity.

    Returns:
        `(q,)` the first `t > as_of_us` such that the windows as of `t + 1` have lost a bucket; `NEVER_US` for an
        entity whose windows are empty.
    """
    changes = np.full(len(as_of_us), NEVER_US, np.int64)
    for window in WINDOWS:
        held = (width_us == window.bucket_us) & (start_us >= window_start_us(as_of_us, window)[group])
        np.minimum.at(changes, group[held], start_us[held] + window.length_us)
    return changes

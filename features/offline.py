"""Features as of any past moment, and the training set made of them.

A history row of time `t` holds the windows as of `t`: only events before `t`. There is a row just after every event
of an entity, and one wherever a bucket leaves a window, so the newest row at or before a moment is what that moment
knew. An impression's own row is one microsecond after it, so joining an impression to the history as of its time
cannot leak it (nor anything that came later).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import InvalidInput
from core.events import Click, Impression, InteractionEvent
from core.settings import FeatureSettings
from features.archive import write_parquet
from features.history import Points, counted_events, points
from features.interactions import to_us
from features.schema import AS_OF, VIEWS, WINDOW_FEATURES, WINDOWS, View
from features.state import feature_folder
from features.transforms.windows import Ints, features, window_sums

_ENTITIES_PER_CALL = 2_000
_JOINED_ROWS_PER_CALL = 4_000_000
_ABSENT = ""


@dataclass(frozen=True)
class History:
    """What `build_history` wrote."""

    events: int
    rows: dict[str, int]  # per view


def build_history(home: Path, archive: Path, settings: FeatureSettings, *, until: datetime) -> History:
    """Compute the history of every view from the archive and replace the Parquet files Feast reads.

    Args:
        home: the home folder; files go to `<home>/features/offline`.
        archive: the folder that `ArchiveWriter` writes to.
        until: rows later than this (windows that have yet to change) are left out.
    """
    from features.repo.definitions import offline_path  # imports Feast, which takes seconds

    events = [event for _, event in counted_events(archive, settings)]
    rows: dict[str, int] = {}
    for view in VIEWS:
        table = history_table(points(events, view), view, to_us(until))
        write_parquet(feature_folder(home) / offline_path(view), table)
        rows[view.name] = len(table)
    return History(len(events), rows)


def history_table(happened: Points, view: View, until_us: int) -> pa.Table:
    """Return the rows of a view as of every moment at which one of its entities changed, up to `until_us`."""
    group, as_of = _moments(happened, until_us)
    values = np.zeros((len(group), len(WINDOW_FEATURES)), np.float64)
    # A few entities at a time, in the order of their numbers, so that their points and moments are slices.
    order = np.argsort(happened.group, kind="stable")
    for first in range(0, len(happened.entities), _ENTITIES_PER_CALL):
        bounds = [first, first + _ENTITIES_PER_CALL]
        chosen = order[slice(*np.searchsorted(happened.group[order], bounds))]
        asked = slice(*np.searchsorted(group, bounds))
        sums = window_sums(
            happened.group[chosen] - first,
            happened.time_us[chosen],
            happened.counts[chosen],
            group[asked] - first,
            as_of[asked],
        )
        values[asked] = features(sums)
    columns: dict[str, Any] = {
        view.join_key: pa.array(happened.entities, pa.string()).take(pa.array(group)),
        "event_timestamp": pa.array(as_of, pa.timestamp("us", tz="UTC")),
    }
    for index, feature in enumerate(view.features[:-1]):
        columns[feature.name] = pa.array(values[:, index].astype(feature.dtype))
    columns[AS_OF] = pa.array(as_of)
    return pa.table(columns)


def training_set(
    home: Path,
    archive: Path,
    settings: FeatureSettings,
    *,
    until: datetime,
    since: datetime | None = None,
    attribution: timedelta = timedelta(minutes=30),
) -> pd.DataFrame:
    """Return one row per impression: whether it was clicked, and what was known when it was shown.

    Run `build_history` first. A click belongs to the newest earlier impression of the same user, item and trace, if
    that is at most `attribution` before it. Impressions younger than `attribution` at `until` have no label yet and
    are left out.

    Args:
        home: the home folder; archive: what `ArchiveWriter` was given.
        until: the time up to which events are known; since: the earliest impression to include.

    Returns:
        Columns event_id, trace_id, user_id, item_id, surface, position (None when unknown), device,
        event_timestamp (UTC), clicked (0 or 1), then `item_stats__*` and `user_stats__*` features as of the
        impression, NaN where nothing was known. Rows are in the order of time.

    Raises:
        InvalidInput: there is no history yet.
    """
    from features.online import open_feast  # imports Feast, which takes seconds

    events = [event for _, event in counted_events(archive, settings)]
    shown = _labelled(events, until=until, since=since, attribution=attribution)
    store = open_feast(home, settings)
    for view in VIEWS:
        shown = shown.merge(
            point_in_time(store, view, shown[[view.join_key, "event_timestamp"]].drop_duplicates()),
            on=[view.join_key, "event_timestamp"],
            how="left",
            validate="many_to_one",
        )
    return shown


def _moments(happened: Points, until_us: int) -> tuple[Ints, Ints]:
    """Return `(q,)` entity numbers and times at which a row is due, without repetition, sorted by both."""
    times = [happened.time_us + 1]
    for window in WINDOWS:
        bucket_us = happened.time_us - happened.time_us % window.bucket_us
        times.append(bucket_us + window.length_us + 1)
    pairs = np.stack([np.tile(happened.group, len(times)), np.concatenate(times)], axis=1)
    pairs = np.unique(pairs[pairs[:, 1] <= until_us], axis=0)
    return pairs[:, 0], pairs[:, 1]


def _labelled(
    events: list[InteractionEvent], *, until: datetime, since: datetime | None, attribution: timedelta
) -> pd.DataFrame:
    keys = ["user_id", "item_id", "trace_id"]
    columns = ["event_id", *keys, "surface", "position", "device", "event_timestamp"]

    def frame(kind: type) -> pd.DataFrame:
        rows = [
            (e.id, d.user_id, d.item_id, d.trace_id or _ABSENT, d.surface, d.position, d.device, e.time)
            for e, d in ((event, event.data) for event in events if isinstance(event, kind))
        ]
        table = pd.DataFrame(rows, columns=columns)
        table["event_timestamp"] = pd.to_datetime(table["event_timestamp"], utc=True).astype("datetime64[us, UTC]")
        return table.sort_values(["event_timestamp", "event_id"], ignore_index=True)

    shown, clicked = frame(Impression), frame(Click)
    joined = pd.merge_asof(
        clicked[[*keys, "event_timestamp"]],
        shown[[*keys, "event_timestamp", "event_id"]],
        on="event_timestamp",
        by=keys,
        tolerance=pd.Timedelta(attribution),
    )
    shown["clicked"] = shown["event_id"].isin(set(joined["event_id"].dropna())).astype(np.int8)
    known = shown["event_timestamp"] <= pd.Timestamp(until - attribution)
    if since is not None:
        known &= shown["event_timestamp"] >= pd.Timestamp(since)
    return shown[known].reset_index(drop=True)


def point_in_time(store: Any, view: View, entities: pd.DataFrame) -> pd.DataFrame:
    """Return the view's features for `(entity, time)` rows that are distinct, through Feast's point-in-time join.

    Feast's local join drops a row whose entity only has later history, so callers must join the result back; and it
    pairs each row with all of its entity's history first, so the rows are asked in parts of bounded size.
    """
    from features.repo.definitions import offline_path

    path = Path(store.config.repo_path) / offline_path(view)
    if not path.exists():
        raise InvalidInput(f"there is no feature history at {path}; build it from the archive first")
    lengths = pd.Series(pq.read_table(path, columns=[view.join_key])[view.join_key].to_pandas()).value_counts()
    cost = entities[view.join_key].map(lengths).fillna(1).astype(np.int64).cumsum()
    references = [f"{view.name}:{name}" for name in view.feature_names]
    parts = [
        store.get_historical_features(part, references, full_feature_names=True).to_df()
        for _, part in entities.groupby(((cost - 1) // _JOINED_ROWS_PER_CALL).to_numpy())
    ]
    named = [f"{view.name}__{name}" for name in view.feature_names]
    if not parts:
        return entities.assign(**dict.fromkeys(named, np.nan))
    found = pd.concat(parts, ignore_index=True)[[view.join_key, "event_timestamp", *named]]
    found["event_timestamp"] = found["event_timestamp"].astype("datetime64[us, UTC]")
    return found

"""What was known of posts and their authors, as of now and as of any past moment.

`moderation.features.v1` has the totals of an author or a post after every change of them. The online store keeps the
newest; the history here is all of them, from the archive. A frame joins posts to the history, each as of a moment
(Feast's point-in-time join), and makes features of what it finds with the transform that is used online, too.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from core import topics
from core.errors import InvalidEvent
from core.moderation_totals import PostTotals, Totals, decode_totals, totals_key, whole_us
from core.settings import FeatureSettings
from features.archive import read_values, write_parquet
from features.interactions import from_us
from features.schema import AS_OF, AUTHOR_TOTALS, POST_TOTALS, TOTALS_VIEWS, View
from features.state import feature_folder
from features.totals import columns_of, row_of, view_of
from features.transforms.moderation import known
from features.transforms.windows import Ints


def archived_totals(archive: Path) -> Iterator[Totals]:
    """Yield the archived totals in the order of arrival; a record that is none is left out."""
    for value in read_values(archive, topics.FEATURES.name):
        try:
            yield decode_totals(value)
        except InvalidEvent:
            continue


def build_totals_history(home: Path, archive: Path, *, until: datetime) -> dict[str, int]:
    """Write the history of both views up to a moment to the Parquet files that Feast reads; return rows by view."""
    from features.repo.definitions import offline_path  # imports Feast, which takes seconds

    tables = _histories(archived_totals(archive), whole_us(until))
    for view, table in tables.items():
        write_parquet(feature_folder(home) / offline_path(view), table)
    return {view.name: len(table) for view, table in tables.items()}


def known_frame(
    home: Path, archive: Path, settings: FeatureSettings, asked: Iterable[tuple[str, datetime]]
) -> pd.DataFrame:
    """Return what was known of posts, each as of a moment: point-in-time, for training.

    Run `build_totals_history` first. Who nothing was counted of had zeros; a rate without words and the age of an
    account that is not known are NaN.

    Args:
        home: the home folder; archive: what `ArchiveWriter` was given.
        asked: ids of posts and moments, such as `decided_at` of a decision; a post may be asked about several times.

    Returns:
        Columns post_id, author_id (empty where nobody knows), at, and `KNOWN` of `features.transforms.moderation`; a
        row for each that was asked, in that order.

    Raises:
        InvalidInput: there is no history yet.
    """
    from features.offline import point_in_time
    from features.online import open_feast  # imports Feast, which takes seconds

    rows = list(asked)
    authors = {one.post_id: one.author_id for one in archived_totals(archive) if isinstance(one, PostTotals)}
    frame = pd.DataFrame(
        {
            "post_id": [post_id for post_id, _ in rows],
            "author_id": [authors.get(post_id, "") for post_id, _ in rows],
            "event_timestamp": pd.to_datetime([at for _, at in rows], utc=True).astype("datetime64[us, UTC]"),
        }
    )
    store = open_feast(home, settings)
    totals: dict[str, Mapping[str, Ints]] = {}
    for view in TOTALS_VIEWS:
        keys = frame[[view.join_key, "event_timestamp"]]
        found = point_in_time(store, view, keys.drop_duplicates())
        joined = keys.merge(found, on=[view.join_key, "event_timestamp"], how="left", validate="many_to_one")
        totals[view.name] = {
            feature.name: joined[f"{view.name}__{feature.name}"].fillna(0).to_numpy(np.int64)
            for feature in view.features[:-1]
        }
    at_us = np.array([whole_us(at) for _, at in rows], np.int64)
    features = known(totals[AUTHOR_TOTALS.name], totals[POST_TOTALS.name], at_us)
    return frame.rename(columns={"event_timestamp": "at"}).assign(**features)


def _histories(totals: Iterable[Totals], until_us: int) -> dict[View, pa.Table]:
    """Return a table by view: a row for each totals, of several as of one moment the last that arrived."""
    newest: dict[View, dict[tuple[str, int], Totals]] = {view: {} for view in TOTALS_VIEWS}
    for one in totals:
        if one.as_of_us <= until_us:
            newest[view_of(one)][totals_key(one), one.as_of_us] = one
    tables: dict[View, pa.Table] = {}
    for view, rows in newest.items():
        ordered = [rows[key] for key in sorted(rows)]
        as_of = [one.as_of_us for one in ordered]
        columns = {name: pa.array(values) for name, values in columns_of(view, [row_of(o) for o in ordered]).items()}
        tables[view] = pa.table(
            {
                view.join_key: pa.array([totals_key(one) for one in ordered], pa.string()),
                "event_timestamp": pa.array([from_us(at) for at in as_of], pa.timestamp("us", tz="UTC")),
                **columns,
                AS_OF: pa.array(as_of, pa.int64()),
            }
        )
    return tables

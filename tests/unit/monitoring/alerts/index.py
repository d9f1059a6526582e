"""The index: recall, lag, entries, snapshots, and the age of its model."""

from tests.unit.monitoring.alerts.case import Case

_INDEX = {"index": "visual"}


CASES: list[Case] = [
    Case(
        "RecallLow",
        "nine of ten true neighbours are found",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "0+9x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "0+10x40",
        },
        "35m",
        (_INDEX,),
    ),
    Case(
        "RecallLow",
        "ninety-nine of a hundred",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "0+99x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "0+100x40",
        },
        "35m",
    ),
    Case(
        "RecallLow",
        "nobody searches: 0 of 0 says nothing",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "3x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "4x40",
        },
        "35m",
    ),
    Case("IndexBehind", "it stands still", {'riverlight_index_lag_records{index="visual"}': "7x10"}, "8m", (_INDEX,)),
    Case("IndexBehind", "it catches up", {'riverlight_index_lag_records{index="visual"}': "900-90x10"}, "8m"),
    Case(
        "IndexEntriesInvalid",
        "the first one",
        {'riverlight_index_entries_total{index="visual",outcome="invalid"}': "_x5 1x10"},
        "8m",
        (_INDEX,),
    ),
    Case(
        "IndexEntriesInvalid",
        "others are applied or stale",
        {
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "0+5x20",
            'riverlight_index_entries_total{index="visual",outcome="stale"}': "0+5x20",
        },
        "15m",
    ),
    Case(
        "SnapshotOld",
        "entries arrive, the last snapshot was made at the start",
        {
            'riverlight_index_snapshot_timestamp_seconds{index="visual"}': "0x90",
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "0+5x90",
        },
        "85m",
        (_INDEX,),
    ),
    Case(
        "SnapshotOld",
        "nothing changes, so nothing is saved",
        {
            'riverlight_index_snapshot_timestamp_seconds{index="visual"}': "0x90",
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "500x90",
        },
        "85m",
    ),
    Case(
        "ModelMismatch",
        "entries of another model for a while",
        {'riverlight_index_entries_total{index="visual",outcome="other_model"}': "0+5x20"},
        "15m",
        (_INDEX,),
    ),
    Case(
        "ModelMismatch",
        "some were read long ago, at the start",
        {'riverlight_index_entries_total{index="visual",outcome="other_model"}': "40x60"},
        "45m",
    ),
    Case(
        "ModelOld",
        "trained 100 days before",
        {'riverlight_model_created_timestamp_seconds{version="visual-search/1"}': "-8640000x90"},
        "80m",
        ({"version": "visual-search/1"},),
    ),
    Case(
        "ModelOld",
        "trained yesterday",
        {'riverlight_model_created_timestamp_seconds{version="visual-search/1"}': "-86400x90"},
        "80m",
    ),
]

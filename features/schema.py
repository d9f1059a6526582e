"""The names and types of every feature, used by the stream, the online store, the offline store and training.

Each view describes one kind of entity by what happened to it (or by what it did) in three trailing windows of event
time. A window is a whole number of UTC-aligned buckets, the last of which is the one in progress, so `day` covers
between 23 and 24 hours, `week` between 6 and 7 days and `month` between 29 and 30 days.
"""

from dataclasses import dataclass
from typing import Literal

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

#: What is counted, in the order of every count vector. Integers, so that sums do not depend on the order of events.
COUNTS = ("impressions", "clicks", "time_spent_ms")


@dataclass(frozen=True)
class Window:
    """A trailing window of `buckets` buckets of `bucket_us` microseconds, the one in progress included."""

    name: str
    bucket_us: int
    buckets: int

    @property
    def length_us(self) -> int:
        return self.bucket_us * self.buckets


DAY = Window("day", HOUR_US, 24)
WEEK = Window("week", DAY_US, 7)
MONTH = Window("month", DAY_US, 30)
WINDOWS = (DAY, WEEK, MONTH)

#: The bucket widths that state is kept in: hours for the day window, days for the longer ones.
BUCKET_WIDTHS_US = tuple(sorted({window.bucket_us for window in WINDOWS}))


@dataclass(frozen=True)
class Feature:
    """One column of a view."""

    name: str
    dtype: Literal["int64", "float64"]
    description: str


@dataclass(frozen=True)
class View:
    """One feature view: its entity, the column that identifies it, and its features."""

    name: str
    entity: str
    join_key: str
    features: tuple[Feature, ...]
    description: str

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


#: When the row was computed, in microseconds since the epoch: exact where a store rounds its own timestamp.
AS_OF = "as_of_us"


def _window_features(subject: str) -> tuple[Feature, ...]:
    features: list[Feature] = []
    for window in WINDOWS:
        over = f"{subject}, trailing {window.name}"
        features += [
            Feature(f"impressions_{window.name}", "int64", f"Impressions {over}."),
            Feature(f"clicks_{window.name}", "int64", f"Clicks {over}."),
            Feature(f"ctr_{window.name}", "float64", f"Smoothed click-through rate {over}."),
            Feature(f"time_spent_s_{window.name}", "float64", f"Seconds watched {over}."),
        ]
    return (*features, Feature(AS_OF, "int64", "When the row was computed, microseconds since the epoch."))


ITEM_STATS = View("item_stats", "item", "item_id", _window_features("of the item"), "How an item is received.")
USER_STATS = View("user_stats", "user", "user_id", _window_features("of the user"), "What a user sees and does.")
VIEWS = (ITEM_STATS, USER_STATS)
BY_NAME = {view.name: view for view in VIEWS}

#: The columns `transforms.windows.features` fills, in its order (the same for every view).
WINDOW_FEATURES = ITEM_STATS.feature_names[:-1]

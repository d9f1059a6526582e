"""The names and types of every feature, used by the stream, the online store, the offline store and training.

The window views describe one kind of entity by what happened to it (or by what it did) in three trailing windows of
event time. A window is a whole number of UTC-aligned buckets, the last of which is the one in progress, so `day` covers
between 23 and 24 hours, `week` between 6 and 7 days and `month` between 29 and 30 days.

The totals are moderation's: all that was counted of an author or a post, as of the last change.
"""

from dataclasses import dataclass
from typing import Literal

from core.moderation import HARM_CLASSES
from core.moderation_totals import STRIKES_KEPT, UNNAMED

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
    lasting: bool = False  # holds until it changes, however long that is; others are stale after `features.ttl_days`

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


def _counts(counted: dict[str, str]) -> tuple[Feature, ...]:
    features = tuple(Feature(name, "int64", what) for name, what in counted.items())
    return (*features, Feature(AS_OF, "int64", "When it was counted, microseconds since the epoch."))


#: Harm classes that reports are counted by.
REPORTED = (*HARM_CLASSES, UNNAMED)

ITEM_STATS = View("item_stats", "item", "item_id", _window_features("of the item"), "How an item is received.")
USER_STATS = View("user_stats", "user", "user_id", _window_features("of the user"), "What a user sees and does.")
VIEWS = (ITEM_STATS, USER_STATS)

AUTHOR_TOTALS = View(
    "author_totals",
    "author",
    "author_id",
    _counts(
        {
            "posts": "Posts so far; a deleted one was still posted.",
            "words": "Words in them.",
            "profane_words": "Profane ones of those.",
            "reports": "Reports received.",
            "followers": "Followers gained.",
            "since_us": "When the account began, microseconds since the epoch; 0: unknown.",
            "violations": "Posts whose decision in force enforces.",
            **{
                f"strike_{n}_us": f"When number {n} of them (1: the newest) began; 0: there is none."
                for n in range(1, STRIKES_KEPT + 1)
            },
        }
    ),
    "What is counted of an author, for moderation.",
    lasting=True,
)
POST_TOTALS = View(
    "post_totals",
    "post",
    "post_id",
    _counts(
        {
            "impressions": "Impressions of the post.",
            "likes": "Likes.",
            "shares": "Shares.",
            "comments": "Comments.",
            **{f"reports_{harm}": f"Reports that name {harm.replace('_', '-')}." for harm in HARM_CLASSES},
            f"reports_{UNNAMED}": "Reports that name no class of harm.",
            "own_posts": "1 once the post is in its author's totals.",
            "own_words": "Its part in its author's words.",
            "own_profane_words": "Its part in its author's profane words.",
            "struck_us": "When it began to be enforced, microseconds since the epoch; 0: it is not.",
        }
    ),
    "What others did with a post, and what of its author's totals is its own.",
    lasting=True,
)
TOTALS_VIEWS = (AUTHOR_TOTALS, POST_TOTALS)

ALL_VIEWS = (*VIEWS, *TOTALS_VIEWS)
BY_NAME = {view.name: view for view in ALL_VIEWS}

#: The columns `transforms.windows.features` fills, in its order (the same for every view).
WINDOW_FEATURES = ITEM_STATS.feature_names[:-1]

"""Totals of authors and posts → what was known of a post at a moment: for serving, the log and training alike."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from core.moderation_totals import STRIKES_KEPT, UNNAMED
from features.schema import DAY_US

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Trailing windows of violations, in days, by name.
VIOLATION_DAYS: Mapping[str, int] = {"week": 7, "month": 30}
MOST_VIOLATIONS = STRIKES_KEPT - 1  # that a window counts
REPORTS = tuple(f"reports_{harm}" for harm in (*HARM_CLASSES, UNNAMED))
#: What is known of a post, in the order of a row. The author's are without the post's own part in them.
KNOWN = (
    "author_violations",
    *(f"author_violations_{name}" for name in VIOLATION_DAYS),
    "author_reports",
    "author_profane_rate",  # NaN: no words so far
    "author_posts",
    "author_followers",
    "author_account_age_days",  # NaN: unknown
    "impressions",
    "likes",
    "shares",
    "comments",
    "reports",
    *REPORTS,
)


def known(author: Mapping[str, Ints], post: Mapping[str, Ints], at_us: Ints) -> dict[str, Floats]:
    """Return `KNOWN` of n posts, `(n,)` each, at `(n,)` moments (microseconds since the epoch).

    `author` and `post` are columns of the views `author_totals` and `post_totals`, each as of the moment of its row.
    A window counts `MOST_VIOLATIONS` at most.
    """
    strikes = np.stack([author[f"strike_{n}_us"] for n in range(1, STRIKES_KEPT + 1)], axis=1)  # (n, kept)
    struck = post["struck_us"]
    found = {"author_violations": author["violations"] - (struck > 0)}
    for name, days in VIOLATION_DAYS.items():
        since = at_us - days * DAY_US
        inside = ((strikes > since[:, None]) & (strikes > 0)).sum(axis=1)
        own = (struck > since) & (strikes == struck[:, None]).any(axis=1)
        found[f"author_violations_{name}"] = np.minimum(inside - own, MOST_VIOLATIONS)
    reports = np.sum([post[name] for name in REPORTS], axis=0)
    counted = post["own_posts"] > 0  # until then nothing of the post is in its author's totals
    found["author_reports"] = author["reports"] - np.where(counted, reports, 0)
    words = author["words"] - post["own_words"]
    found["author_posts"] = author["posts"] - post["own_posts"]
    found["author_followers"] = author["followers"]
    found |= {name: post[name] for name in ("impressions", "likes", "shares", "comments", *REPORTS)}
    floats = {name: np.maximum(values, 0).astype(np.float64) for name, values in found.items()}
    floats["reports"] = reports.astype(np.float64)
    profane = np.maximum(author["profane_words"] - post["own_profane_words"], 0)
    floats["author_profane_rate"] = np.where(words > 0, profane / np.maximum(words, 1), np.nan)
    age_us = np.maximum(at_us - author["since_us"], 0)
    floats["author_account_age_days"] = np.where(author["since_us"] > 0, age_us / DAY_US, np.nan)
    return {name: floats[name] for name in KNOWN}

"""What a decision keeps of what was known when it was made: training frames are compared with it."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from core.moderation_totals import UNNAMED, whole_us
from features.schema import DAY_US
from features.transforms.moderation import MOST_VIOLATIONS, REPORTS, VIOLATION_DAYS
from storage.moderation import Author, Reactions, Report


def features_of(author: Author, reactions: Reactions, reports: Sequence[Report], now: datetime) -> dict[str, float]:
    """Return what is known of a post, by the names of `features.transforms.moderation.KNOWN`; unknown ones are absent.

    `author` is without the post itself: what `ModerationStore.authors_before` gives.
    """
    facts, now_us = author.facts, whole_us(now)
    struck = [whole_us(strike.at) for strike in author.strikes]
    by_class = Counter(f"reports_{report.harm or UNNAMED}" for report in reports)
    known: dict[str, float | None] = {
        "author_violations": facts.violations,
        **{
            f"author_violations_{name}": min(sum(at > now_us - days * DAY_US for at in struck), MOST_VIOLATIONS)
            for name, days in VIOLATION_DAYS.items()
        },
        "author_reports": facts.reports_received,
        "author_profane_rate": facts.profane_rate,
        "author_posts": facts.posts,
        "author_followers": facts.followers,
        "author_account_age_days": facts.account_age_days,
        "impressions": reactions.impressions,
        "likes": reactions.likes,
        "shares": reactions.shares,
        "comments": reactions.comments,
        "reports": len(reports),
        **{name: by_class[name] for name in REPORTS},
    }
    return {name: float(value) for name, value in known.items() if value is not None and math.isfinite(value)}

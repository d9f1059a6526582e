"""What is told of a post beside its content, as features: one way for scoring and for learning, so that they agree."""

import math

from core.moderation import AuthorFacts, ReactionFacts
from models.moderation.features import PostFeatures


def told_features(
    author: AuthorFacts, reactions: ReactionFacts, *, hour: int | None, device: str | None, language: str
) -> PostFeatures:
    """Return the features of author, reactions and context; what is not known is NaN or None.

    Nobody has had the chance to react to a post that was never shown: its reactions are unknown, not none.
    """
    shown = reactions.impressions > 0 or reactions.reports > 0
    return PostFeatures(
        impressions=float(reactions.impressions) if shown else math.nan,
        likes=float(reactions.likes) if shown else math.nan,
        shares=float(reactions.shares) if shown else math.nan,
        comments=float(reactions.comments) if shown else math.nan,
        reports=float(reactions.reports) if shown else math.nan,
        author_violations=_number(author.violations),
        author_reports=_number(author.reports_received),
        author_profane_rate=_number(author.profane_rate),
        author_posts=_number(author.posts),
        author_followers=_number(author.followers),
        author_account_age_days=_number(author.account_age_days),
        author_age_band=author.age_band,
        author_gender=author.gender,
        author_city=author.city,
        author_country=author.country,
        hour=hour,
        device=device,
        language=language,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

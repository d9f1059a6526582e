"""Do decisions know what training would? Features that decisions logged against the offline store as of that moment."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from core.settings import FeatureSettings
from features.moderation import build_totals_history, known_frame
from features.transforms.moderation import KNOWN
from infra.moderation_history import stored_posts
from storage.moderation import ModerationStore, ScannedPost

_AGE = "author_account_age_days"
_AGE_APART = 1e-5  # days: ages are told as of the moment they were read, which is just before the one that is logged


@dataclass(frozen=True)
class Skew:
    """How many logged decisions were compared, how many agree in every feature, and where the others differ."""

    compared: int
    equal: int
    differing: Mapping[str, int]  # by feature, in how many
    posts: Sequence[str]  # some of those that differ


def logged_posts(store: ModerationStore, since: datetime, most: int | None = None) -> list[ScannedPost]:
    """Return posts from a time on whose decision logged features, oldest first; of many, the newest `most`."""
    found = [post for post in stored_posts(store, since) if post.told.features and post.told.known_at is not None]
    return found if most is None else found[-most:]


def moderation_set(home: Path, settings: FeatureSettings, posts: Sequence[ScannedPost]) -> pd.DataFrame:
    """Return what the offline store says was known of posts when their decisions were made; the history is built first.

    Columns of `known_frame`, then decision_id, action, harm, model_version, label (what a person last said; None:
    nobody looked) and label_harm.
    """
    archive = home.resolve() / "archive"
    build_totals_history(home, archive, until=datetime.now(UTC))
    frame = known_frame(home, archive, settings, [(post.post_id, _at(post)) for post in posts])
    told = ("decision_id", "action", "harm", "model_version", "label", "label_harm")
    return frame.assign(**{name: [getattr(post, name) for post in posts] for name in told})


def skew(home: Path, settings: FeatureSettings, posts: Sequence[ScannedPost]) -> Skew:
    """Compare what decisions logged with what the offline store gives as of the same moment.

    A change between its being counted and its being told (milliseconds) counts as a difference: training would know
    less than the decision did.
    """
    frame = moderation_set(home, settings, posts)
    differing: Counter[str] = Counter()
    unequal: list[str] = []
    for post, (_, row) in zip(posts, frame.iterrows(), strict=True):
        apart = [name for name in KNOWN if not _same(name, post.told.features.get(name), row[name])]
        differing.update(apart)
        if apart:
            unequal.append(post.post_id)
    return Skew(len(posts), len(posts) - len(unequal), dict(differing), unequal[:20])


def _same(name: str, logged: float | None, then: float) -> bool:
    if logged is None or math.isnan(then):
        return logged is None and math.isnan(then)
    return math.isclose(logged, then, rel_tol=1e-9, abs_tol=_AGE_APART if name == _AGE else 1e-12)


def _at(post: ScannedPost) -> datetime:
    return post.told.known_at or post.decided_at

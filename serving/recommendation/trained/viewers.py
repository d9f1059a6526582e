"""A viewer as a trained model sees users: what they found relevant in which order, and their features.

The same rule as in training decides what is relevant (`models/recommendation/labels.py`), so that an event of a second
ago means what it would have meant there.
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.events import UserProfile
from models.recommendation.described import user_cells
from models.recommendation.features import FeatureEncoder
from models.recommendation.feedback import PAD, Users
from models.recommendation.labels import DISLIKED, IGNORED, RELEVANT, RelevanceRule
from serving.recommendation.ports import Past, Rows, Viewer
from serving.recommendation.trained.items import TrainedItems

_RULE = RelevanceRule()
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_MOST_SHARE = 1.0  # a greater value of a watch is seconds, of a video whose length nobody said


def users_of(viewer: Viewer, items: TrainedItems, encoder: FeatureEncoder | None, n_features: int) -> Users:
    """Return a batch of one user: the viewer as of now. Videos that were not there at training are left out."""
    liked, disliked = _judged(viewer.history)
    return Users(
        place=np.full(1, PAD, np.int32),  # models know nobody by name
        history=_numbers(liked, items),
        disliked=_numbers(disliked, items),
        features=_features(viewer.profile, encoder, n_features),
        now=np.array([viewer.now.timestamp()]),
    )


def profile_cells(profile: UserProfile) -> dict[str, str]:
    """Return a profile as the cells of a users table (`models/recommendation/described.py`), without what is unknown.

    Tables may also have `age`, a number: it is the middle of the band (29.5 of `25-34`).
    """
    cells = {name: cell for name, cell in user_cells(profile).items() if cell}
    if bounds := [float(number) for number in _NUMBERS.findall(profile.age_band or "")][:2]:
        cells["age"] = f"{sum(bounds) / len(bounds):g}"
    return cells


def _judged(history: tuple[Past, ...]) -> tuple[list[int], list[int]]:
    """Return the rows found relevant and those disliked, both oldest first by the last thing done with them."""
    said: dict[int, int] = {}  # what was said last
    did: dict[int, int] = {}
    for past in history:  # newest first
        did[past.row] = max(did.get(past.row, IGNORED), _by_watching(past))
        if past.row not in said and (opinion := _by_saying(past)) != IGNORED:
            said[past.row] = opinion
    labels = {row: said.get(row, done) for row, done in reversed(did.items())}
    return (
        [row for row, label in labels.items() if label == RELEVANT],
        [row for row, label in labels.items() if label == DISLIKED],
    )


def _by_saying(past: Past) -> int:
    return RELEVANT if past.kind in _RULE.liking else DISLIKED if past.kind in _RULE.disliking else IGNORED


def _by_watching(past: Past) -> int:
    watched = past.kind == "watch" and _RULE.watched_from <= past.value <= _MOST_SHARE
    return RELEVANT if watched or past.kind in _RULE.engaging else IGNORED


def _numbers(rows: Iterable[int], items: TrainedItems) -> NDArray[np.int32]:
    """Return trained items `(1, n)`, at least one place, of which the unknown is `PAD`."""
    chosen: Rows = np.fromiter(rows, np.int64)
    numbers = items.numbers(chosen)
    known = numbers[numbers >= 0]
    return known[None] if len(known) else np.full((1, 1), PAD, np.int32)


def _features(profile: UserProfile | None, encoder: FeatureEncoder | None, n_features: int) -> NDArray[np.float32]:
    """Return `(1, F)`: zeros for somebody of whom nothing is said, as in training."""
    if profile is None or encoder is None:
        return np.zeros((1, n_features), np.float32)
    return encoder.encode([profile_cells(profile)])

"""Online features for serving: what is known now, with its age, and nothing that is too old.

A process that reads features should call `gc.collect(); gc.freeze()` once it is warm: Feast leaves hundreds of
thousands of long-lived objects behind, and collecting among them is what makes the slowest reads slow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.clock import Clock
from core.settings import FeatureSettings
from features.interactions import from_us, to_us
from features.schema import AS_OF, AUTHOR_TOTALS, DAY_US, ITEM_STATS, POST_TOTALS, USER_STATS, View
from features.transforms.moderation import Ints, known

if TYPE_CHECKING:
    from features.online import OnlineStore


@dataclass(frozen=True)
class FeatureRow:
    """The features of one entity. Every value is None unless the row is fresh."""

    entity_id: str
    status: Literal["fresh", "stale", "missing"]
    as_of: datetime | None  # when the row was computed; None when there is none
    values: Mapping[str, int | float | None]


class FeatureReader:
    """Reads features of items, users, authors and posts. Open one per process; calls of several threads take turns."""

    def __init__(self, online: "OnlineStore", settings: FeatureSettings, clock: Clock) -> None:
        self._online = online
        self._clock = clock
        self._ttl_us = round(settings.ttl_days * DAY_US)

    @classmethod
    def open(cls, home: Path, settings: FeatureSettings, clock: Clock) -> "FeatureReader":
        """Open the online store under `home`. Raises Unavailable when it cannot be reached."""
        from features.online import OnlineStore  # imports Feast, which takes seconds

        return cls(OnlineStore.open(home, settings), settings, clock)

    def close(self) -> None:
        self._online.close()

    def item_features(self, item_ids: Sequence[str]) -> list[FeatureRow]:
        """Return one row per item, in the order asked. Raises Unavailable when the store does not answer."""
        return self._read(ITEM_STATS, item_ids)

    def user_features(self, user_ids: Sequence[str]) -> list[FeatureRow]:
        """Return one row per user, in the order asked. Raises Unavailable when the store does not answer."""
        return self._read(USER_STATS, user_ids)

    def author_totals(self, author_ids: Sequence[str]) -> list[FeatureRow]:
        """Return what was counted of authors, for moderation. Raises Unavailable when the store does not answer."""
        return self._read(AUTHOR_TOTALS, author_ids)

    def post_totals(self, post_ids: Sequence[str]) -> list[FeatureRow]:
        """Return what was counted of posts, for moderation. Raises Unavailable when the store does not answer."""
        return self._read(POST_TOTALS, post_ids)

    def known_of(self, posts: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Return, by post, what is known of it now: `KNOWN` of `features.transforms.moderation`, NaN where unknown.

        Decisions do not read this but the catalogue, which is some tens of milliseconds ahead.

        Args:
            posts: by post, its author. Of whom nothing was counted, everything is zero.

        Raises:
            Unavailable: the store does not answer.
        """
        if not posts:
            return {}
        author = _columns(AUTHOR_TOTALS, self.author_totals(list(posts.values())))
        post = _columns(POST_TOTALS, self.post_totals(list(posts)))
        found = known(author, post, np.full(len(posts), to_us(self._clock.now()), np.int64))
        return {post_id: {name: float(found[name][at]) for name in found} for at, post_id in enumerate(posts)}

    def _read(self, view: View, ids: Sequence[str]) -> list[FeatureRow]:
        # Feast does not apply a view's ttl to online reads, so it is applied here.
        oldest_us = 0 if view.lasting else to_us(self._clock.now()) - self._ttl_us
        rows = self._online.read(view, ids)
        return [_row(view, entity_id, row, oldest_us) for entity_id, row in zip(ids, rows, strict=True)]


def _columns(view: View, rows: Sequence[FeatureRow]) -> dict[str, Ints]:
    """Return rows as columns; a value that is not there is zero."""
    names = [feature.name for feature in view.features[:-1]]
    return {name: np.array([int(row.values[name] or 0) for row in rows], np.int64) for name in names}


def _row(view: View, entity_id: str, values: dict[str, int | float] | None, oldest_us: int) -> FeatureRow:
    names = [name for name in view.feature_names if name != AS_OF]
    nothing: dict[str, int | float | None] = dict.fromkeys(names)
    if values is None:
        return FeatureRow(entity_id, "missing", None, nothing)
    as_of_us = int(values[AS_OF])
    if as_of_us < oldest_us:
        return FeatureRow(entity_id, "stale", from_us(as_of_us), nothing)
    return FeatureRow(entity_id, "fresh", from_us(as_of_us), {name: values[name] for name in names})

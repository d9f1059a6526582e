"""Labelled pairs of user and item, and users as models see them at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.features import FeatureTable

Places = NDArray[np.int32]
PAD = -1


@dataclass(frozen=True, eq=False)
class Feedback:
    """One row a pair, in the order of time. Arrays are read-only and of one length.

    `label` is 1 (relevant), 0 (shown, or rated so-so) or -1 (disliked); `engagement` is 0 to 1.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: Places
    item: Places
    time: NDArray[np.float64]
    label: NDArray[np.int8]
    engagement: NDArray[np.float32]
    item_table: FeatureTable | None = None
    user_table: FeatureTable | None = None

    def __post_init__(self) -> None:
        if len(self.time) and (np.diff(self.time) < 0).any():
            raise InvalidInput("feedback must be in the order of time")
        for column in (self.user, self.item, self.time, self.label, self.engagement):
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def rows(self, keep: NDArray[np.bool_]) -> "Feedback":
        """Return the rows where `keep` is true, with the same vocabularies and tables."""
        columns = ("user", "item", "time", "label", "engagement")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def positives(self) -> "Feedback":
        """Return the relevant rows."""
        return self.rows(self.label > 0)

    def matrix(self) -> sp.csr_matrix:
        """Return the feedback matrix of relevant pairs `(users, items)`, 1 where observed (float32)."""
        chosen = self.label > 0
        ones = np.ones(int(chosen.sum()), np.float32)
        shape = (self.n_users, self.n_items)
        return sp.csr_matrix((ones, (self.user[chosen], self.item[chosen])), shape=shape)

    def item_counts(self) -> NDArray[np.int64]:
        """Return how many relevant pairs each item has `(items,)`."""
        return np.bincount(self.item[self.label > 0], minlength=self.n_items)

    def item_features(self) -> NDArray[np.float32]:
        """Return `(items, F)`, F = 0 where nothing is known about items."""
        table = self.item_table
        return table.aligned(self.items) if table else np.zeros((self.n_items, 0), np.float32)

    def user_features(self) -> NDArray[np.float32]:
        """Return `(users, F)`, F = 0 where nothing is known about users."""
        table = self.user_table
        return table.aligned(self.users) if table else np.zeros((self.n_users, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Users:
    """A batch of users at one moment: what a model is asked about, at training time and while serving.

    `history` holds the items found relevant so far, the most recent in the last column, `PAD` to the left; `disliked`
    likewise. Whoever is new has only `PAD` and features.
    """

    place: Places  # (B,) in the vocabulary models were fitted with, PAD for a user they do not know
    history: Places  # (B, T)
    disliked: Places  # (B, D)
    features: NDArray[np.float32]  # (B, F)
    now: NDArray[np.float64]  # (B,) the moment, seconds since 1970

    def __len__(self) -> int:
        return len(self.place)

    def part(self, rows: slice | NDArray[np.int64]) -> "Users":
        """Return some of the users."""
        names = ("place", "history", "disliked", "features", "now")
        return Users(**{name: getattr(self, name)[rows] for name in names})

    def recent(self, length: int) -> Places:
        """Return the last `length` items of each history `(B, length)`, padded on the left."""
        missing = length - self.history.shape[1]
        if missing <= 0:
            return self.history[:, self.history.shape[1] - length :]
        return np.pad(self.history, ((0, 0), (missing, 0)), constant_values=PAD)

    def history_matrix(self, n_items: int, *, decay: float | None = None) -> sp.csr_matrix:
        """Return `(B, n_items)`: 1 for each item of the history, or exp(-place from the end / decay)."""
        length = self.history.shape[1]
        rows, columns = np.nonzero(self.history != PAD)
        back = length - 1 - columns
        weights = np.ones(len(rows)) if decay is None else np.exp(-back / decay)
        shape = (len(self), n_items)
        return sp.csr_matrix((weights.astype(np.float32), (rows, self.history[rows, columns])), shape=shape)


def users_of(feedback: Feedback, places: Sequence[int] | Places, now: NDArray[np.float64] | None = None) -> Users:
    """Return users with all the feedback there is of them; `now` is the end of the feedback unless it is given."""
    chosen = np.asarray(places, np.int32)
    latest = float(feedback.time[-1]) if len(feedback) else 0.0
    return Users(
        place=chosen,
        history=_padded(feedback, chosen, feedback.label > 0),
        disliked=_padded(feedback, chosen, feedback.label < 0),
        features=feedback.user_features()[chosen],
        now=np.full(len(chosen), latest) if now is None else now,
    )


def _padded(feedback: Feedback, places: Places, keep: NDArray[np.bool_]) -> Places:
    """Return the kept items of each user in the order of time, padded on the left `(B, longest)`."""
    user, item = feedback.user[keep], feedback.item[keep]
    order = np.argsort(user, kind="stable")
    counts = np.bincount(user, minlength=feedback.n_users)
    ends = np.cumsum(counts)
    longest = max(1, int(counts[places].max())) if len(places) else 1
    out = np.full((len(places), longest), PAD, np.int32)
    for row, place in enumerate(places):
        count = counts[place]
        if count:
            out[row, longest - count :] = item[order[ends[place] - count : ends[place]]]
    return out

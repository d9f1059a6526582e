"""Asking a model about moments that happened: for one video somebody found relevant, what it ranks just before."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.recommendation.candidates import propose
from models.recommendation.feedback import PAD, Feedback, Places, Users
from models.recommendation.ranker import Examples
from models.recommendation.recommender import Recommender
from models.recommendation.splits import Split
from models.recommendation.system import joined_examples

LENGTH = 100  # items of a history: what serving keeps of a viewer
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Questions:
    """Users just before something they found relevant, and what that was: `item` `(B,)`, `engagement` `(B,)`."""

    users: Users
    item: Places
    engagement: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.users)

    def split(self, train: Feedback, span: slice) -> Split:
        """Return some of the questions as a split of the evaluation."""
        users, item = self.users.part(span), self.item[span]
        shape = (len(users), train.n_items)
        relevant = sp.csr_matrix((np.ones(len(item), bool), (np.arange(len(item)), item)), shape=shape)
        return Split(
            "replayed", train, users, relevant, sp.csr_matrix(users.history_matrix(train.n_items).astype(bool))
        )


def newly_relevant(feedback: Feedback, before: Feedback) -> NDArray[np.bool_]:
    """Return which rows of `feedback` are relevant pairs that were not relevant in `before` `(n,)`."""
    n = max(1, feedback.n_items)
    known = before.user[before.label > 0].astype(np.int64) * n + before.item[before.label > 0]
    pairs = feedback.user.astype(np.int64) * n + feedback.item
    return np.asarray((feedback.label > 0) & ~np.isin(pairs, known))


def ask(feedback: Feedback, rows: NDArray[np.int64]) -> Questions:
    """Return a question for each of some relevant rows: its user, with what the feedback holds of them before it.

    The latest `LENGTH` relevant and disliked items of each user are kept, as serving does.
    """
    features = feedback.user_features()
    liked, disliked = _by_user(feedback, feedback.label > 0), _by_user(feedback, feedback.label < 0)
    users = feedback.user[rows]
    return Questions(
        users=Users(
            place=users.astype(np.int32),
            history=_before(feedback, liked, rows),
            disliked=_before(feedback, disliked, rows),
            features=features[users],
            now=feedback.time[rows].astype(np.float64),
        ),
        item=feedback.item[rows].astype(np.int32),
        engagement=feedback.engagement[rows].astype(np.float32),
    )


def sampled(rows: NDArray[np.int64], most: int, seed: int = 0) -> NDArray[np.int64]:
    """Return at most so many of the rows, drawn evenly, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def examples_of(generators: list[Recommender], questions: Questions, n_items: int, *, each: int) -> Examples:
    """Return what a ranker learns from questions: what the generators proposed at that moment, and what was right.

    The generators must not have learned the answers, or the ranker would trust them more than serving can.
    """
    parts = []
    for start in range(0, len(questions), _AT_ONCE):
        span = slice(start, start + _AT_ONCE)
        users = questions.users.part(span)
        seen = users.history_matrix(n_items).toarray() > 0
        candidates = propose([generator.score(users) for generator in generators], seen, each=each)
        is_answer = (candidates.items == questions.item[span][:, None]) & (candidates.items != PAD)
        liked = is_answer.astype(np.float32)
        watched = liked * questions.engagement[span][:, None]
        parts.append(Examples(users, candidates, (watched > 0).astype(np.float32), watched, liked))
    return joined_examples(parts)


def with_later(feedback: Feedback, more: Feedback, rows: NDArray[np.bool_]) -> tuple[Feedback, NDArray[np.int64]]:
    """Return `feedback` with some rows of `more`, in the order of time, and where they are.

    Both are over the same vocabularies.
    """
    names = ("user", "item", "time", "label", "engagement")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(feedback, name), getattr(more, name)[rows]]) for name in names
    }
    order = np.argsort(columns["time"], kind="stable")
    together = replace(feedback, **{name: column[order] for name, column in columns.items()})
    return together, np.flatnonzero(order >= len(feedback))


def _by_user(feedback: Feedback, keep: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the kept rows ordered by user and time, and each user's first place among them `(users + 1,)`."""
    rows = np.flatnonzero(keep)
    order = rows[np.argsort(feedback.user[rows], kind="stable")]
    return order, np.searchsorted(feedback.user[order], np.arange(feedback.n_users + 1))


def _before(
    feedback: Feedback, by_user: tuple[NDArray[np.int64], NDArray[np.int64]], rows: NDArray[np.int64]
) -> Places:
    order, starts = by_user
    found = []
    for row in rows.tolist():
        user = int(feedback.user[row])
        own = order[starts[user] : starts[user + 1]]
        found.append(feedback.item[own[: np.searchsorted(own, row)]][-LENGTH:])
    width = max((len(items) for items in found), default=0) or 1
    out = np.full((len(rows), width), PAD, np.int32)
    for place, items in enumerate(found):
        if len(items):
            out[place, width - len(items) :] = items
    return out

"""Held-out feedback: what may be learned from, who is asked about, and what they turned out to find relevant."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.feedback import Feedback, Users, users_of

_LEAST_POSITIVES = 3  # one each to test, to validate and to learn from


@dataclass(frozen=True, eq=False)
class Split:
    """A question to every model: fitted on `train`, rank for `users` all items but `seen`; right is `relevant`."""

    name: str
    train: Feedback
    users: Users  # (B,)
    relevant: sp.csr_matrix  # (B, items) bool
    seen: sp.csr_matrix  # (B, items) bool: never ranked

    def __len__(self) -> int:
        return len(self.users)


def leave_last_out(feedback: Feedback, *, back: int = 0) -> Split:
    """Hold out one relevant item of every user with three or more: the last, or the one `back` places before it.

    What comes after it in the user's own time is dropped, and so is what the user rejected at that moment or later.
    Other users' later feedback stays in `train`, as this protocol always has it; `temporal` is the one without.
    Relevant pairs of users with fewer than three stay in `train`. Pairs of the same time keep the order of the file.
    """
    places = np.flatnonzero(feedback.label > 0)
    user = feedback.user[places]
    counts = np.bincount(user, minlength=feedback.n_users)
    order = np.argsort(user, kind="stable")
    ends = np.cumsum(counts)
    asked = np.flatnonzero((counts >= _LEAST_POSITIVES) & (counts > back + 1)).astype(np.int32)
    if not len(asked):
        raise InvalidInput(
            f"no user has {max(_LEAST_POSITIVES, back + 2)} relevant items, so none can be held out; check from which "
            "value on an item counts as relevant"
        )
    targets = places[order[ends[asked] - 1 - back]]  # rows of the feedback
    cut = np.full(feedback.n_users, len(feedback), np.int64)
    cut[asked] = targets
    when = np.full(feedback.n_users, np.inf)
    when[asked] = feedback.time[targets]
    row = np.arange(len(feedback))
    before = row < cut[feedback.user]
    rejected = feedback.label <= 0
    train = feedback.rows(before & ~(rejected & (feedback.time >= when[feedback.user])))
    relevant = _pairs(np.arange(len(asked)), feedback.item[targets], (len(asked), feedback.n_items))
    users = users_of(train, asked, now=feedback.time[targets])
    return Split(
        "leave-last-out" if back == 0 else f"leave-last-out, {back} back",
        train,
        users,
        relevant,
        _seen(users, feedback.n_items),
    )


def temporal(feedback: Feedback, *, start: float = 0.9, end: float = 1.0) -> Split:
    """Learn from everything before a moment; asked about are the users of the window after it.

    `start` and `end` are shares of all relevant pairs in the order of time. No row of `train` is later than, or at the
    same time as, any held-out one. Relevant is what a user newly found relevant inside the window; users without any
    history are asked about, too.

    Raises:
        InvalidInput: the window or what is before it holds nothing relevant.
    """
    if not 0 < start < end <= 1:
        raise InvalidInput(f"a window needs 0 < start < end <= 1, got {start} and {end}")
    times = feedback.time[feedback.label > 0]
    if len(times) < 2:
        raise InvalidInput("a temporal split needs relevant pairs at two moments or more")
    opens = float(times[min(int(len(times) * start), len(times) - 1)])
    closes = np.inf if end == 1 else float(times[min(int(len(times) * end), len(times) - 1)])
    train = feedback.rows(feedback.time < opens)
    window = feedback.rows((feedback.time >= opens) & (feedback.time < closes) & (feedback.label > 0))
    if not len(window) or not (train.label > 0).any():
        raise InvalidInput("a temporal split needs relevant pairs before and after the cut; the times may all be equal")
    asked = np.unique(window.user).astype(np.int32)
    users = users_of(train, asked, now=np.full(len(asked), opens))
    seen = _seen(users, feedback.n_items)
    place = np.searchsorted(asked, window.user)
    relevant = _pairs(place, window.item, (len(asked), feedback.n_items))
    relevant = sp.csr_matrix(relevant.astype(np.int8) - relevant.multiply(seen).astype(np.int8)).astype(bool)
    relevant.eliminate_zeros()
    kept = np.flatnonzero(np.diff(relevant.indptr) > 0)
    return Split("temporal", train, users.part(kept), relevant[kept], seen[kept])


def _seen(users: Users, n_items: int) -> sp.csr_matrix:
    return sp.csr_matrix(users.history_matrix(n_items).astype(bool))


def _pairs(rows: NDArray, columns: NDArray, shape: tuple[int, int]) -> sp.csr_matrix:
    matrix = sp.csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape=shape, dtype=bool)
    matrix.sum_duplicates()
    return matrix

"""The gate: may a candidate be served instead of the champion? Both are asked about the newest traffic, unseen by both.

Every held-out moment is one question; a user's questions are averaged, and the paired differences of users are
resampled (Efron 1979), so that who watches much does not decide alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics.bootstrap import mean_interval
from models.recommendation.evaluate import measure
from models.recommendation.feedback import Feedback
from models.recommendation.learning.questions import Questions
from models.recommendation.recommender import Recommender

METRICS = ("ndcg@10", "hr@10")
DECIDES = "ndcg@10"
_AT_ONCE = 256


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion on the same users, with the 95 % interval of the mean."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and on what."""

    promote: bool
    reason: str
    users: int
    questions: int
    champion: dict[str, float]
    candidate: dict[str, float]
    difference: dict[str, Difference]


def judge(
    champion: Recommender,
    candidate: Recommender,
    questions: Questions,
    train: Feedback,
    *,
    margin: float,
    min_users: int,
) -> Verdict:
    """Compare two models on questions that neither learned from.

    The candidate is promoted when the interval of its difference in nDCG@10 lies above `-margin` (a test of
    non-inferiority), and at least `min_users` were asked.
    """
    old, new = per_user(champion, questions, train), per_user(candidate, questions, train)
    users = len(next(iter(old.values())))
    difference = {
        name: Difference(float((new[name] - old[name]).mean()), *mean_interval(new[name] - old[name]))
        for name in METRICS
    }
    decides = difference[DECIDES]
    if users < min_users:
        promote, reason = False, f"only {users} users were asked; {min_users} are needed to tell"
    elif decides.low >= -margin:
        promote, reason = True, f"{DECIDES} {decides.mean:+.4f}, surely not lower by more than {margin:g}"
    elif decides.high < -margin:
        promote, reason = False, f"{DECIDES} is lower by {-decides.mean:.4f}, more than the margin of {margin:g}"
    else:
        promote, reason = (
            False,
            f"{DECIDES} {decides.mean:+.4f} may be lower by up to {-decides.low:.4f}; the margin is {margin:g}",
        )
    return Verdict(
        promote,
        reason,
        users,
        len(questions),
        {name: float(old[name].mean()) for name in METRICS},
        {name: float(new[name].mean()) for name in METRICS},
        difference,
    )


def per_user(model: Recommender, questions: Questions, train: Feedback) -> dict[str, NDArray[np.float64]]:
    """Return each metric's mean over every user's questions, by user `(users,)`."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
    for start in range(0, len(questions), _AT_ONCE):
        split = questions.split(train, slice(start, start + _AT_ONCE))
        measured = measure(model.score(split.users), split)
        for name in METRICS:
            found[name].append(measured.per_user[name])
    _, user = np.unique(questions.users.place, return_inverse=True)
    counts = np.bincount(user)
    return {name: np.bincount(user, np.concatenate(values)) / counts for name, values in found.items()}

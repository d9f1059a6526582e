"""What a new policy would have earned, estimated from the log of another one: IPS, SNIPS and doubly robust.

A row of the log is one answer: what was shown, with which probability (propensity), and what it earned (a click, the
fraction watched). All estimates need the logging policy to have had some chance of showing whatever the new policy
would show; `effective_samples` says how far that holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimate of a policy's mean reward with its 95 % interval.

    `effective_samples` is Kish's (Σw)²/Σw²: how many rows of the new policy's own the weighted log is worth.
    """

    value: float
    low: float
    high: float
    rows: int
    effective_samples: float
    largest_weight: float


def ips(
    rewards: ArrayLike, logged: ArrayLike, target: ArrayLike, *, clip: float | None = None, confidence: float = 0.95
) -> Estimate:
    """Return the inverse propensity estimate: the mean of r·π(a|x)/μ(a|x) (Horvitz and Thompson 1952).

    Args:
        rewards: what each shown item earned `(n,)`.
        logged: the probability with which the log's policy showed it `(n,)`, above 0.
        target: the probability with which the new policy would show it `(n,)`, 0 to 1.
        clip: weights above this count as this: less variance, and an estimate that is too low for rewards >= 0.

    The interval is the normal one of a mean.
    """
    reward, weight = _checked(rewards, logged, target, clip)
    values = weight * reward
    return _estimate(float(values.mean()), values, weight, confidence)


def snips(
    rewards: ArrayLike, logged: ArrayLike, target: ArrayLike, *, clip: float | None = None, confidence: float = 0.95
) -> Estimate:
    """Return the self-normalised estimate Σwr / Σw (Swaminathan and Joachims 2015): a little bias, less variance.

    The interval is by the delta method of a ratio. It stays within the range of the rewards.
    """
    reward, weight = _checked(rewards, logged, target, clip)
    if weight.sum() == 0:
        raise InvalidInput("the new policy would show nothing of what the log shows; there is nothing to estimate from")
    value = float((weight * reward).sum() / weight.sum())
    influence = weight * (reward - value) / weight.mean()
    return _estimate(value, value + influence, weight, confidence)


def doubly_robust(
    rewards: ArrayLike,
    logged: ArrayLike,
    target: ArrayLike,
    predicted: ArrayLike,
    predicted_target: ArrayLike,
    *,
    clip: float | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Return the doubly robust estimate (Dudík et al. 2011, https://arxiv.org/abs/1103.4601).

    The mean of q(x, π) + w·(r - q(x, a)): right when either the propensities or the reward model are right.

    Args:
        predicted: a reward model's prediction for the item that was shown `(n,)`, learned from other rows.
        predicted_target: its prediction for what the new policy would show, averaged over that policy `(n,)`.
    """
    reward, weight = _checked(rewards, logged, target, clip)
    shown, wanted = np.asarray(predicted, np.float64), np.asarray(predicted_target, np.float64)
    if shown.shape != reward.shape or wanted.shape != reward.shape:
        raise InvalidInput("the reward model needs one prediction a row for what was shown, and one for the new policy")
    if not (np.isfinite(shown).all() and np.isfinite(wanted).all()):
        raise InvalidInput("predictions of the reward model must be finite")
    values = wanted + weight * (reward - shown)
    return _estimate(float(values.mean()), values, weight, confidence)


def reward_table(
    contexts: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: ArrayLike,
    shape: tuple[int, int],
    *,
    prior: float = 5.0,
) -> Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]:
    """Return a reward model for `doubly_robust`: mean reward of each context and action, drawn to the action's mean.

    `prior` is how many rows the action's mean counts as. Learn it on other rows than those that are estimated.
    """
    reward = np.asarray(rewards, np.float64)
    overall = float(reward.mean()) if len(reward) else 0.0
    count, total = np.bincount(actions, minlength=shape[1]), np.bincount(actions, reward, minlength=shape[1])
    by_action = (total + prior * overall) / (count + prior)
    cell = contexts * shape[1] + actions
    cells = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cell, reward, minlength=shape[0] * shape[1]).reshape(shape)
    table = (sums + prior * by_action) / (cells + prior)
    return lambda context, action: np.asarray(table[context, action], np.float64)


def _checked(rewards: ArrayLike, logged: ArrayLike, target: ArrayLike, clip: float | None) -> tuple[Floats, Floats]:
    reward, given, wanted = (np.asarray(values, np.float64) for values in (rewards, logged, target))
    if reward.ndim != 1 or not len(reward) or not reward.shape == given.shape == wanted.shape:
        raise InvalidInput("rewards and both policies' propensities must be lists of one length, with at least one row")
    if not np.isfinite(reward).all():
        raise InvalidInput("rewards must be finite")
    if not ((given > 0) & (given <= 1)).all():
        raise InvalidInput("logged propensities must lie above 0, at most 1: what could not be shown cannot be logged")
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise InvalidInput("the new policy's propensities must lie between 0 and 1")
    if clip is not None and not clip > 0:
        raise InvalidInput(f"clip must be above 0, got {clip}")
    weight = wanted / given
    return reward, weight if clip is None else np.minimum(weight, clip)


def _estimate(value: float, values: Floats, weight: Floats, confidence: float) -> Estimate:
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence must lie between 0 and 1, got {confidence}")
    reach = NormalDist().inv_cdf(0.5 + confidence / 2)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")
    square = float(np.square(weight).sum())
    return Estimate(
        value=value,
        low=value - reach * error,
        high=value + reach * error,
        rows=len(values),
        effective_samples=float(weight.sum()) ** 2 / square if square else 0.0,
        largest_weight=float(weight.max()),
    )

"""What another scoring of logged answers would have shown, and what that would have earned.

The log says with which chance each place went to the video that has it, given the places before it. Another policy is
another score of the same candidates, chosen from in the same way (softmax over what is left, divided by the
temperature); its chance of the same choice is what the estimates of `models/metrics/offpolicy.py` need. The estimates
are about single places: what the videos before a place do to it is taken as it was.

Two things are left out, so weights are a little off where they mattered: that similar videos push each other down, and
candidates below those that a trace keeps in full.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.metrics.offpolicy import Estimate, doubly_robust, ips, reward_table, snips
from models.recommendation.online import Answer, Option

Scoring = Callable[[Option], float]
_BY_SCORE = "score"  # the kind of place that goes to the best score; exploration and quotas are not a scoring's doing
_POSITIONS = 50


@dataclass(frozen=True)
class Comparison:
    """Estimates of a policy's mean reward a shown video, beside what the log itself earned."""

    policy: str
    logged: float
    rows: int
    left_out: int  # places that were not filled by score, or without chance: nothing can be said of them
    ips: Estimate
    snips: Estimate
    dr: Estimate


def weighted(weights: Mapping[str, float]) -> Scoring:
    """Return a scoring by other weights of the objectives that a trace keeps, e.g. `{"click": 1, "watch": 0}`."""

    def score(option: Option) -> float:
        unknown = [name for name in weights if name not in option.objectives]
        if unknown:
            known = ", ".join(sorted(option.objectives)) or "none"
            raise InvalidInput(f"answers know no objective {', '.join(unknown)}; they know {known}")
        return sum(weight * option.objectives[name] for name, weight in weights.items())

    return score


def by_score(option: Option) -> float:
    """Return the score as it was logged: the policy that answered."""
    return option.score


def chances(
    answer: Answer, position: int, scoring: Scoring, temperature: float
) -> tuple[list[Option], NDArray[np.float64]]:
    """Return what was left for a place, given the places before it, and the chance of each to get it `(n,)`.

    Candidates are what the trace kept. Scores are scaled to 0..1 over the answer's candidates, as re-ranking scales
    them. A temperature of 0 is the best one, always.
    """
    options = list(answer.options.values())
    values = np.asarray([scoring(one) for one in options], np.float64)
    low, high = values.min(), values.max()
    values = (values - low) / (high - low) if high > low else np.ones(len(values))
    left = [place for place, one in enumerate(options) if one.position is None or one.position >= position]
    remaining = values[left]
    if temperature <= 0:
        weights = (remaining == remaining.max()).astype(np.float64)
    else:
        weights = np.exp((remaining - remaining.max()) / temperature)
    return [options[place] for place in left], weights / weights.sum()


def propensity(answer: Answer, option: Option, scoring: Scoring, temperature: float) -> float:
    """Return the chance with which a scoring gives a shown video its place, given the places before it."""
    assert option.position is not None
    left, chance = chances(answer, option.position, scoring, temperature)
    return float(chance[[one.item_id for one in left].index(option.item_id)])


def compare(
    shown: Sequence[tuple[Answer, Option]],
    rewards: Sequence[float],
    scoring: Scoring,
    *,
    policy: str,
    temperature: float,
    clip: float | None = 50.0,
) -> Comparison:
    """Estimate what a scoring would have earned at the places that the log filled by score, with some chance.

    The doubly robust estimate's reward model is the mean reward of a position and generator, learned on the other half
    of the rows each time.

    Raises:
        InvalidInput: no such place; answers were made without chance (`recommendation.temperature` 0).
    """
    kept = [
        (answer, option, reward)
        for (answer, option), reward in zip(shown, rewards, strict=True)
        if option.place == _BY_SCORE and option.propensity is not None and option.propensity < 1.0
    ]
    if len(kept) < 2:
        raise InvalidInput(
            f"{len(kept)} of {len(shown)} shown videos were chosen by score and with some chance; off-policy estimates "
            "need recommendation.temperature above 0, and impressions that name their answer"
        )
    reward = np.asarray([row[2] for row in kept])
    logged = np.asarray([row[1].propensity for row in kept])
    target = np.asarray([propensity(answer, option, scoring, temperature) for answer, option, _ in kept])
    predicted, wanted = _predicted(kept, reward, scoring, temperature)
    return Comparison(
        policy=policy,
        logged=float(reward.mean()),
        rows=len(kept),
        left_out=len(shown) - len(kept),
        ips=ips(reward, logged, target, clip=clip),
        snips=snips(reward, logged, target, clip=clip),
        dr=doubly_robust(reward, logged, target, predicted, wanted, clip=clip),
    )


def _predicted(
    kept: Sequence[tuple[Answer, Option, float]],
    reward: NDArray[np.float64],
    scoring: Scoring,
    temperature: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the reward model's word on what was shown, and on what the scoring would show there, on average."""
    names = sorted({_leading(option) for answer, _, _ in kept for option in answer.options.values()})
    code = {name: place for place, name in enumerate(names)}
    position = np.asarray([min(option.position or 0, _POSITIONS - 1) for _, option, _ in kept])
    action = np.asarray([code[_leading(option)] for _, option, _ in kept])
    half = np.arange(len(kept)) % 2
    shown, wanted = np.zeros(len(kept)), np.zeros(len(kept))
    for side in (0, 1):
        learned = half != side
        table = reward_table(position[learned], action[learned], reward[learned], (_POSITIONS, len(names)))
        for row in np.flatnonzero(half == side).tolist():
            answer, option, _ = kept[row]
            place = position[row : row + 1]
            shown[row] = table(place, action[row : row + 1])[0]
            left, chance = chances(answer, option.position or 0, scoring, temperature)
            actions = np.asarray([code[_leading(one)] for one in left])
            wanted[row] = float((chance * table(np.repeat(place, len(left)), actions)).sum())
    return shown, wanted


def _leading(option: Option) -> str:
    return option.generators[0] if option.generators else ""

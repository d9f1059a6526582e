"""What a policy makes of many stored posts: only the action, its class and factor.

Posts about which nothing but class thresholds has a say are judged in numpy, all at once; the others by `decide`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.moderation import ACTIONS, HARM_CLASSES, PostScores
from models.moderation.policy.case import Case
from models.moderation.policy.decide import decide
from models.moderation.policy.schema import Policy, rank

_NEVER = np.inf
NO_HARM = -1


@dataclass(frozen=True)
class Judged:
    """By case: the rank of the action, the place of its class in HARM_CLASSES (-1: none), and the demotion factor."""

    ranks: NDArray[np.int8]
    harms: NDArray[np.int8]
    factors: NDArray[np.float64]  # 1 for everything that is not demoted
    unknown: Counter[str]  # rule -> cases for which it could not be asked


def judge_many(policy: Policy, cases: Sequence[Case]) -> Judged:
    """Return what `decide` says the machine does, for every case; decisions of people are not asked about."""
    result = Judged(
        np.zeros(len(cases), np.int8), np.full(len(cases), NO_HARM, np.int8), np.ones(len(cases)), Counter()
    )
    plain = [place for place, case in enumerate(cases) if _is_plain(policy, case)]
    if plain:
        _by_thresholds(policy, [cases[place] for place in plain], np.array(plain), result)
    of_python = set(range(len(cases))).difference(plain)
    for place in sorted(of_python):
        outcome = decide(policy, msgspec.structs.replace(cases[place], in_force=None))
        result.ranks[place] = rank(outcome.action)
        result.factors[place] = outcome.factor
        result.unknown.update(unknown.rule for unknown in outcome.unknown)
        if outcome.harm is not None:
            result.harms[place] = HARM_CLASSES.index(outcome.harm)
    return result


def _is_plain(policy: Policy, case: Case) -> bool:
    """Say whether thresholds alone decide about a case."""
    if policy.rules or case.known or case.reports or (policy.strikes and case.strikes):
        return False
    if not isinstance(case.scores, PostScores) or case.scores.missing:
        return False
    scores = case.scores.scores
    return all((value := scores.get(harm)) is not None and 0.0 <= value <= 1.0 for harm in HARM_CLASSES)


def _by_thresholds(policy: Policy, cases: Sequence[Case], places: NDArray[np.int64], result: Judged) -> None:
    parts = [policy.classes.of(harm) for harm in HARM_CLASSES]
    thresholds = np.array(
        [[_NEVER if value is None else value for _, value in part.thresholds] for part in parts]
    )  # (classes, actions)
    severities = np.array([part.severity for part in parts])
    factors = np.array([part.factor for part in parts])
    scores = np.array(
        [[case.scores.scores[harm] for harm in HARM_CLASSES] for case in cases],  # type: ignore[union-attr]
        dtype=np.float64,
    )  # (cases, classes)
    met = scores[:, :, None] >= thresholds[None, :, :]
    # The hardest whose threshold is met: with a milder one that is never taken, those met do not begin at the first.
    ranks = np.max(met * np.arange(1, len(ACTIONS), dtype=np.int8), axis=2)  # (cases, classes)
    top = ranks.max(axis=1)
    decides = (ranks == top[:, None]) & (top > 0)[:, None]
    weights = np.where(decides, severities * scores, -1.0)
    result.ranks[places] = top
    result.harms[places] = np.where(top > 0, weights.argmax(axis=1), NO_HARM)
    demoted = np.where(decides, factors, 1.0).min(axis=1)
    result.factors[places] = np.where(top == rank("demote"), demoted, 1.0)

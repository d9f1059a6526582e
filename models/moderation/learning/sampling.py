"""Which posts people are asked to label: where the model is least sure, of every class and language, and rare harm.

A label is worth most where the model cannot tell (uncertainty sampling, Lewis and Gale 1994), and where labels of a
class are few. Picks are by value within strata, so that one class in one language does not take everything. They are
not drawn by chance, so nothing may be estimated from them but what a model says of posts like these.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.moderation import HARM_CLASSES, HarmClass

Why = Literal["uncertain", "near-threshold", "rare"]
RARE_SHARE = 0.25
_FROM = 0.02  # a class less probable than this is no candidate for being rare harm
_LEAST = 0.1  # value below which nobody is asked: the model says about 1 % of every class
_WIDTH = 0.5  # of a threshold, in log-odds: this far away it is worth 1/e


@dataclass(frozen=True)
class ScoredPost:
    """A post that nobody labelled, as a model scored it. Of posts in one `group` (near-duplicates) one is picked."""

    post_id: str
    language: str
    scores: Mapping[HarmClass, float | None]
    group: int


@dataclass(frozen=True)
class Pick:
    """A post to be labelled, for which class and why. `value` is in [0, 1]."""

    post_id: str
    language: str
    harm: HarmClass
    why: Why
    value: float


def entropy(probability: float) -> float:
    """Return how uncertain a yes or no is, in bits: 1 at one half, 0 where it is sure."""
    if not 0.0 < probability < 1.0:
        return 0.0
    return -(probability * math.log2(probability) + (1.0 - probability) * math.log2(1.0 - probability))


def nearness(probability: float, thresholds: Sequence[float]) -> float:
    """Return how near a probability is to what would change the action: exp(-distance in log-odds / 0.5)."""
    return max((math.exp(-abs(_logit(probability) - _logit(one)) / _WIDTH) for one in thresholds), default=0.0)


def pick(
    posts: Sequence[ScoredPost],
    thresholds: Mapping[HarmClass, Sequence[float]],
    labelled: Mapping[HarmClass, int],
    budget: int,
    *,
    rare_share: float = RARE_SHARE,
) -> list[Pick]:
    """Return at most `budget` posts, the most valuable of each stratum in turn.

    Args:
        thresholds: of the policy, by class: posts near them are those whose action a better model would change.
        labelled: by class, how many posts people found harmful so far: those with the fewest come first.
        rare_share: of the budget, for the probably harmful posts of the class with the fewest labels, and so on.
    """
    order = sorted(HARM_CLASSES, key=lambda harm: (labelled.get(harm, 0), HARM_CLASSES.index(harm)))
    taken: set[int] = set()
    rare = _in_turn(_rare(posts, order), order, round(budget * rare_share), taken)
    unsure = _in_turn(_unsure(posts, thresholds), order, budget - len(rare), taken)
    return [*rare, *unsure]


def _unsure(posts: Sequence[ScoredPost], thresholds: Mapping[HarmClass, Sequence[float]]) -> list[tuple[Pick, int]]:
    """Return each post for the class that it says least of."""
    found = []
    for post in posts:
        best: Pick | None = None
        for harm, probability in post.scores.items():
            if probability is None:
                continue
            near, unsure = nearness(probability, thresholds.get(harm, ())), entropy(probability)
            value, why = (near, "near-threshold") if near > unsure else (unsure, "uncertain")
            if best is None or value > best.value:
                best = Pick(post.post_id, post.language, harm, why, value)  # type: ignore[arg-type]  # one of two
        if best is not None and best.value >= _LEAST:
            found.append((best, post.group))
    return found


def _rare(posts: Sequence[ScoredPost], order: Sequence[HarmClass]) -> list[tuple[Pick, int]]:
    """Return each post for every class of the rarer half that it may be of, by how probable that is."""
    return [
        (Pick(post.post_id, post.language, harm, "rare", probability), post.group)
        for post in posts
        for harm in order[: math.ceil(len(order) / 2)]
        if (probability := post.scores.get(harm)) is not None and probability >= _FROM
    ]


def _in_turn(found: Sequence[tuple[Pick, int]], order: Sequence[HarmClass], budget: int, taken: set[int]) -> list[Pick]:
    """Take from every class in turn, and within a class from every language in turn, the most valuable first."""
    strata: dict[HarmClass, dict[str, list[tuple[Pick, int]]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(found, key=lambda pair: (-pair[0].value, pair[0].post_id)):
        strata[one[0].harm][one[0].language].append(one)
    queues = {harm: _alternating(strata[harm]) for harm in order if harm in strata}
    picks: list[Pick] = []
    while queues and len(picks) < budget:
        for harm in [harm for harm in order if harm in queues]:
            if len(picks) >= budget:
                break
            while queues[harm]:
                best, group = queues[harm].pop(0)
                if group not in taken:
                    taken.add(group)
                    picks.append(best)
                    break
            if not queues[harm]:
                del queues[harm]
    return picks


def _alternating(by_language: Mapping[str, list[tuple[Pick, int]]]) -> list[tuple[Pick, int]]:
    """Return the posts of a class, one of each language at a time; languages with the most valuable post first."""
    rows = sorted(by_language.values(), key=lambda row: (-row[0][0].value, row[0][0].language))
    longest = max((len(row) for row in rows), default=0)
    return [row[place] for place in range(longest) for row in rows if place < len(row)]


def _logit(probability: float) -> float:
    sure = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(sure / (1.0 - sure))

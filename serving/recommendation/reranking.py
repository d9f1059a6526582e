"""Re-ranking of the recommender: from scored candidates to an answer. Pure functions over arrays.

Scoring says what a viewer would like. Re-ranking decides what may be shown and what a page of it should look like: it
takes out what is taken down, blocked, seen or demoted far, then fills the places one by one. Each place goes to the
best candidate by score and unlikeness to the places before it (maximal marginal relevance: Carbonell and Goldstein
1998), among the new videos or the small creators where they are owed a place. Every candidate leaves with a verdict.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.ports import Rows, Scores

Mask = NDArray[np.bool_]


class Fate(IntEnum):
    """What became of a candidate."""

    answered = 0
    deleted = 1
    hidden = 2
    enforced = 3  # a post that shows it was taken down
    private = 4
    unlisted = 5
    blocked_region = 6
    hidden_by_viewer = 7
    seen = 8
    demoted = 9  # a post that shows it is demoted, further than what is recommended
    not_scored = 10  # so many better proposals that it was not scored
    duplicate = 11  # the same bytes as a place before it
    near_duplicate = 12  # nearly the same content as a place before it
    creator_cap = 13  # its creator has as many places as one may
    beyond_k = 14

    @property
    def word(self) -> str:
        return self.name.replace("_", "-")


class Place(IntEnum):
    """Why a place was filled the way it was."""

    score = 0
    exploration = 1
    small_creator = 2


@dataclass(frozen=True)
class RerankRules:
    """What an answer should look like. Shares are of its places; similarities are cosines."""

    k: int
    diversity: float  # 0: score alone, 1: unlikeness alone
    near_duplicate_score: float
    per_creator: int
    small_creator_share: float
    exploration_share: float
    temperature: float = 0.0  # of the choice of each place; 0: the best, always


@dataclass(frozen=True)
class Pool:
    """Candidates to choose from, as columns `(n,)`."""

    rows: Rows
    scores: Scores  # greater is better; what is not finite counts as the worst
    creator: NDArray[np.int32]
    media: NDArray[np.uint64]
    content: NDArray[np.float32]  # (n, dim), of length 1 or zero
    small: Mask  # by a small creator
    due: Mask  # a new video that is owed impressions

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Reranked:
    """The answer as places in the pool, best first, and what became of every candidate."""

    chosen: NDArray[np.int64]  # (m,)
    places: NDArray[np.uint8]  # (m,), of `Place`
    propensities: NDArray[np.float64]  # (m,): chance of each choice, given those before it and the kind of its place
    fates: NDArray[np.uint8]  # (n,), of `Fate`
    because_of: NDArray[np.int64]  # (n,): place in the pool of what a duplicate duplicates, else -1


def rerank(pool: Pool, refused: NDArray[np.uint8], rules: RerankRules, rng: np.random.Generator) -> Reranked:
    """Choose and order an answer.

    A place is owed to a new video (a small creator) whenever fewer of the places so far have one than their share asks
    for; rounding is by chance, so that a share holds for short answers too (on average). The cap on a creator's places
    gives way when nobody else is left; nothing else does.

    Args:
        pool: scored candidates in any order.
        refused: `(n,)`, a `Fate` for each that may not be in the answer, 0 for the others.
        rules: what the answer should look like.
        rng: makes the choices of chance; the same state gives the same answer.
    """
    n = len(pool)
    fates = np.asarray(refused, np.uint8).copy()
    because_of = np.full(n, -1, np.int64)
    value = (1 - rules.diversity) * _between_0_and_1(pool.scores, fates == 0)
    unlike = np.zeros(n)  # greatest similarity to what was chosen
    is_open = fates == 0
    free = is_open.copy()  # and of a creator who may have another place
    owed_small, owed_due = rng.random(2)
    n_small = n_due = 0
    creators: dict[int, int] = {}
    chosen: list[int] = []
    places: list[int] = []
    propensities: list[float] = []
    for position in range(min(rules.k, n)):
        among = free
        if not among.any():
            among = is_open
            if not among.any():
                break
        place = Place.score
        if n_due < int(rules.exploration_share * (position + 1) + owed_due) and (due := among & pool.due).any():
            among, place = due, Place.exploration
        elif (
            n_small < int(rules.small_creator_share * (position + 1) + owed_small)
            and (small := among & pool.small).any()
        ):
            among, place = small, Place.small_creator
        if place is Place.exploration:  # any of them, evenly: nothing is known of them that a score could be made of
            options = np.flatnonzero(among)
            pick, propensity = int(options[rng.integers(options.size)]), 1.0 / options.size
        else:
            pick, propensity = _choose(value - rules.diversity * unlike, among, rules.temperature, rng)
        chosen.append(pick)
        places.append(place)
        propensities.append(propensity)
        n_due += bool(pool.due[pick])
        n_small += bool(pool.small[pick])
        is_open[pick] = free[pick] = False
        similarity = pool.content @ pool.content[pick]
        np.maximum(unlike, similarity, out=unlike)
        copies = pool.media == pool.media[pick]
        out = similarity >= rules.near_duplicate_score
        out |= copies
        out &= is_open
        if out.any():
            fates[out] = np.where(copies[out], Fate.duplicate, Fate.near_duplicate)
            because_of[out] = pick
            is_open &= ~out
            free &= is_open
        creator = int(pool.creator[pick])
        creators[creator] = creators.get(creator, 0) + 1
        if creators[creator] == rules.per_creator:
            free &= pool.creator != creator
    fates[is_open & ~free] = Fate.creator_cap
    fates[free] = Fate.beyond_k
    return Reranked(np.array(chosen, np.int64), np.array(places, np.uint8), np.array(propensities), fates, because_of)


def _choose(value: NDArray[np.float64], among: Mask, temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    """Choose one by value; return its place and the chance it had.

    With a temperature, by softmax (value / temperature): each choice of a Plackett-Luce ranking, so the chance of a
    whole answer is the product of those of its places. All of `value` is looked at, others than those `among` whom to
    choose with no weight: that takes half the time of picking them out.
    """
    weights = np.where(among, value, -np.inf)
    greatest = int(weights.argmax())
    if temperature <= 0:
        return greatest, 1.0
    weights -= weights[greatest]
    weights /= temperature
    np.exp(weights, out=weights)
    sums = weights.cumsum()
    picked = int(sums.searchsorted(rng.random() * sums[-1], side="right"))
    if picked >= sums.size or not among[picked]:  # the last sum is reached before the last place
        picked = int(np.flatnonzero(weights)[-1])
    return picked, float(weights[picked] / sums[-1])


def _between_0_and_1(scores: Scores, counted: Mask) -> NDArray[np.float64]:
    """Return scores moved and scaled so that those counted lie in [0, 1], comparable with a similarity.

    What is no number is -1.
    """
    values = np.asarray(scores, np.float64)
    finite = np.isfinite(values)
    known = values[counted & finite]
    if known.size == 0:
        return np.zeros(values.size)
    low, high = known.min(), known.max()
    scaled = np.ones(values.size) if high <= low else (values - low) / (high - low)
    return np.where(finite, np.clip(scaled, 0.0, 1.0), -1.0)

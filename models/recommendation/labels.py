"""Which pairs of user and item were relevant, from what people said and from what they did.

The chapter's definition: a video is relevant when it was liked, or watched to at least half. What was said outweighs
what was done, and what was said last counts.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import KIND_CODES, KINDS, InteractionLog

RELEVANT, IGNORED, DISLIKED = 1, 0, -1


@dataclass(frozen=True)
class RelevanceRule:
    """What counts as relevant. Kinds are names of `interactions.KINDS`."""

    rating_from: float = 4.0  # a rating of this or more says relevant
    disliked_to: float = 2.0  # a rating of this or less says disliked
    watched_from: float = 0.5  # a fraction watched of this or more does
    liking: tuple[str, ...] = ("like", "share", "save")
    disliking: tuple[str, ...] = ("dislike", "hide", "report")
    engaging: tuple[str, ...] = ()  # kinds that alone make an item relevant, such as `click`

    def __post_init__(self) -> None:
        if not self.disliked_to < self.rating_from:
            raise InvalidInput(f"disliked_to ({self.disliked_to}) must lie below rating_from ({self.rating_from})")
        if not 0 < self.watched_from <= 1:
            raise InvalidInput(f"watched_from is a fraction above 0, at most 1; got {self.watched_from}")
        unknown = sorted({*self.liking, *self.disliking, *self.engaging} - set(KINDS))
        if unknown or set(self.liking) & set(self.disliking):
            raise InvalidInput(f"liking and disliking must be different kinds of {', '.join(KINDS)}")


def rule_for(log: InteractionLog, *, rating_from: float | None = None) -> RelevanceRule:
    """Return the rule for a log of ratings: from `rating_from`, or 4 of 5 stars, or at least half of 1.

    Raises:
        InvalidInput: the ratings fit neither scale, so it has to be said what is relevant.
    """
    ratings = log.value[log.kind == KIND_CODES["rating"]]
    if rating_from is None:
        if not len(ratings):
            return RelevanceRule()
        highest = float(ratings.max())
        if highest > 5 or ratings.min() < 0:
            raise InvalidInput(
                f"values lie between {ratings.min():g} and {highest:g}, which is neither 0 to 1 nor 1 to 5 stars; say "
                "from which value on an item is relevant (--relevant-from)"
            )
        rating_from = 4.0 if highest > 1 else 0.5
    return RelevanceRule(rating_from=rating_from, disliked_to=rating_from / 2 if rating_from > 0 else rating_from - 1)


def label(log: InteractionLog, rule: RelevanceRule | None = None) -> Feedback:
    """Reduce a log to one row a pair of user and item: `RELEVANT`, `IGNORED` (shown, not engaged enough), `DISLIKED`.

    A row's time is that of the pair's last event, so what is known before a moment never holds anything from after it.
    Impressions without engagement become `IGNORED`: they are the negatives that were really shown.
    """
    rule = rule or RelevanceRule()
    pair = log.user.astype(np.int64) * max(1, len(log.items)) + log.item
    order = np.argsort(pair, kind="stable")  # within a pair, the order of time
    starts = np.flatnonzero(np.r_[True, np.diff(pair[order]) != 0]) if len(order) else np.empty(0, np.int64)
    lasts = np.r_[starts[1:], len(order)] - 1 if len(order) else starts
    said, did = _said(log, rule)[order], _did(log, rule)[order]
    # The last event of a pair that says something: its place, or -1.
    places = np.where(said != 0, np.arange(len(order)), -1)
    last_said = np.maximum.reduceat(places, starts) if len(order) else starts
    has_said = last_said >= starts
    labels = np.where(
        has_said,
        said[np.maximum(last_said, 0)] if len(order) else said,
        np.maximum.reduceat(did, starts) if len(order) else did,
    )
    engagement = np.maximum.reduceat(_engagement(log, rule)[order], starts) if len(order) else np.empty(0)
    rows = order[lasts]
    by_time = np.argsort(rows, kind="stable")  # rows of the log are in the order of time
    rows = rows[by_time]
    return Feedback(
        users=log.users,
        items=log.items,
        user=log.user[rows].copy(),
        item=log.item[rows].copy(),
        time=log.time[rows].copy(),
        label=labels[by_time].astype(np.int8),
        engagement=engagement[by_time].astype(np.float32),
    )


def _said(log: InteractionLog, rule: RelevanceRule) -> NDArray[np.int8]:
    """Return 1 where an event says relevant, -1 where it says disliked, else 0."""
    rating = log.kind == KIND_CODES["rating"]
    liked = _is(log, rule.liking) | (rating & (log.value >= rule.rating_from))
    disliked = _is(log, rule.disliking) | (rating & (log.value <= rule.disliked_to))
    return liked.astype(np.int8) - disliked.astype(np.int8)


def _did(log: InteractionLog, rule: RelevanceRule) -> NDArray[np.int8]:
    watched = (log.kind == KIND_CODES["watch"]) & (log.value >= rule.watched_from)
    return (watched | _is(log, rule.engaging)).astype(np.int8)


def _engagement(log: InteractionLog, rule: RelevanceRule) -> NDArray[np.float32]:
    """Return how much of the item was taken in, 0 to 1: the fraction watched, a rating's place on its scale."""
    rating = log.kind == KIND_CODES["rating"]
    scale = max(rule.rating_from, float(log.value[rating].max()) if rating.any() else 1.0)
    watch = np.nan_to_num(log.value, nan=0.0)
    engaged = _is(log, ("click", "comment", *rule.liking)).astype(np.float32) * 0.1
    out = np.where(rating, watch / scale, np.where(log.kind == KIND_CODES["watch"], watch, engaged))
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def _is(log: InteractionLog, kinds: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.isin(log.kind, [KIND_CODES[kind] for kind in kinds])


# --- imbalance -------------------------------------------------------------------------------------------------


def loss_weights(labels: NDArray[np.int8], scheme: Literal["none", "balanced"] = "balanced") -> NDArray[np.float32]:
    """Return a weight a row, with a mean of 1; `balanced` gives relevant rows and the others the same sum."""
    relevant = labels == RELEVANT
    if scheme == "none" or relevant.all() or not relevant.any():
        return np.ones(len(labels), np.float32)
    share = relevant.mean()
    return np.where(relevant, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)


def resample(labels: NDArray[np.int8], *, negatives_per_positive: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the places of rows to keep, in order: every relevant one, and at most so many of the others."""
    if negatives_per_positive < 0:
        raise InvalidInput(f"negatives_per_positive must be at least 0, got {negatives_per_positive}")
    positives, others = np.flatnonzero(labels == RELEVANT), np.flatnonzero(labels != RELEVANT)
    count = min(len(others), round(negatives_per_positive * len(positives)))
    return np.sort(np.concatenate([positives, rng.choice(others, count, replace=False)]))


def random_negatives(
    seen: NDArray[np.bool_], count: int, rng: np.random.Generator, *, tries: int = 20
) -> NDArray[np.int64]:
    """Draw `count` items for each row of `seen` `(B, I)` that the row has not seen: `(B, count)`.

    Raises InvalidInput where a row has seen everything.
    """
    drawn = rng.integers(0, seen.shape[1], (len(seen), count))
    for _ in range(tries):
        wrong = np.take_along_axis(seen, drawn, axis=1)
        if not wrong.any():
            break
        drawn[wrong] = rng.integers(0, seen.shape[1], int(wrong.sum()))
    for row, column in zip(*np.nonzero(np.take_along_axis(seen, drawn, axis=1)), strict=True):
        unseen = np.flatnonzero(~seen[row])  # rare: whoever has seen nearly everything
        if not len(unseen):
            raise InvalidInput("a user who has seen every item has no negatives to draw")
        drawn[row, column] = rng.choice(unseen)
    return drawn


def log_q(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return log of the chance that an item is drawn as an in-batch negative: its share of all positives.

    Subtracting it from the logits removes the bias against popular items, which are other users' positives, and so
    negatives, most often (Yi et al. 2019, https://doi.org/10.1145/3298689.3346996). Items never seen count as one half.
    """
    held = np.maximum(np.asarray(counts, np.float64), 0.5)
    return np.log(held / held.sum()).astype(np.float32)

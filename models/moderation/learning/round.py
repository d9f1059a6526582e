"""One round: from the champion and what people said of posts to a candidate and the gate's verdict."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES, HarmClass
from core.ports import TextEncoder
from models.moderation.features import FeatureBatch, PostFeatures
from models.moderation.learning.apart import apart
from models.moderation.learning.base import Base
from models.moderation.learning.examples import Cut, Example, features, less_likely, positives
from models.moderation.learning.gate import Asked, GateRule, Verdict, judge
from models.moderation.learning.saved import SavedModel
from models.moderation.learning.tune import TuneSettings, tune
from models.moderation.score import HarmModel
from models.moderation.wording import ProfaneWords
from models.progress import Report


@dataclass(frozen=True)
class RoundRule:
    """`min_posts`: reported posts that are fresh, without which nothing is learned. `unreported_for_each`: how many
    posts that nobody reported are learned for each that somebody did."""

    min_posts: int = 50
    unreported_for_each: float = 3.0
    gate: GateRule = field(default_factory=GateRule)
    tune: TuneSettings = field(default_factory=TuneSettings)


@dataclass(frozen=True)
class Material:
    """What a round is made of: posts judged by hand, posts with natural labels, texts the champion's line learned.

    `learned_posts` are the texts of posts that have taught it, and still are there; `origin`: see `gate.judge`.
    """

    judged: Sequence[Example]
    natural: Sequence[Example]
    base: Base
    learned_posts: Sequence[str] = ()
    origin: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A candidate, not yet registered. `reported` and `unreported` are what taught it, `kept_out` what did not.

    `harmful` counts the reported posts by class, `judged_left_out` judged posts like ones that the champion learned.
    """

    arrays: dict[str, NDArray[Any]]
    verdict: Verdict
    reported: int
    fresh: int
    unreported: int
    kept_out: int
    judged_left_out: int
    harmful: dict[HarmClass, int]


def post_hash(post_id: str) -> int:
    """Return what a version remembers of a post that taught it: 63 bits of a hash of its id."""
    return int.from_bytes(hashlib.sha256(post_id.encode("utf-8", "replace")).digest()[:8], "big") >> 1


def is_reported(example: Example) -> bool:
    """Tell whether reports say harm of a post; else nobody reported it."""
    return bool(np.nan_to_num(example.targets).max() > 0)


def learn(
    saved: SavedModel,
    material: Material,
    rule: RoundRule,
    encoder: TextEncoder,
    words: ProfaneWords,
    *,
    cut: Cut,
    report: Report = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Teach a candidate what reports say and judge it by what people decided, with nothing on both sides.

    Raises:
        InvalidInput: too little is fresh.
        Stopped: `stop` said so.
    """
    sides = apart(
        [one.text for one in material.judged],
        [one.text for one in material.natural],
        [*material.base.texts, *material.learned_posts],
    )
    judged = [one for one, asks in zip(material.judged, sides.asks, strict=True) if asks]
    natural = [one for one, teaches in zip(material.natural, sides.teaches, strict=True) if teaches]
    reported = [one for one in natural if is_reported(one)]
    fresh = [one for one in reported if post_hash(one.known.post_id) not in set(saved.taught.tolist())]
    if len(fresh) < rule.min_posts:
        raise InvalidInput(
            f"{len(fresh)} reported posts are fresh ({len(material.natural) - len(natural)} more are like posts that "
            f"people judged, which are kept to measure by), and a round needs {rule.min_posts} (`learning_moderation."
            "min_posts`)"
        )
    unreported = _some(
        [one for one in natural if not is_reported(one)], round(rule.unreported_for_each * len(reported))
    )
    taught = [*reported, *unreported]
    champion = HarmModel(saved.described, saved.with_members(saved.members, saved.taught), version="champion")
    found = features([one.known for one in taught], encoder, words, cut=cut, report=report)
    rows = [_telling(champion, one, passages) for one, passages in zip(taught, found, strict=True)]
    batch = champion.encode(rows)
    targets = _targets(taught, champion.probabilities(batch))
    members = tune(saved, batch, targets, material.base.anchors, rule.tune, report=report, stop=stop)
    hashes = np.array([post_hash(one.known.post_id) for one in taught], np.int64)
    arrays = saved.with_members(members, np.concatenate([saved.taught, hashes]))
    candidate = HarmModel(saved.described, arrays, version="candidate")
    passages = features([one.known for one in judged], encoder, words, cut=cut, report=report)
    hand = Asked(
        highest(champion, passages),
        highest(candidate, passages),
        np.array([one.targets for one in judged], np.float32).reshape(len(judged), len(HARM_CLASSES)),
        sides.groups[sides.asks],
    )
    base = {
        name: Asked(_known(champion, asked.batch), _known(candidate, asked.batch), asked.targets, asked.groups)
        for name, asked in material.base.asked.items()
    }
    return Outcome(
        arrays=arrays,
        verdict=judge(hand, base, rule.gate, material.origin),
        reported=len(reported),
        fresh=len(fresh),
        unreported=len(unreported),
        kept_out=len(material.natural) - len(natural),
        judged_left_out=len(material.judged) - len(judged),
        harmful=positives(reported),
    )


def highest(model: HarmModel, posts: Sequence[Sequence[PostFeatures]]) -> NDArray[np.float64]:
    """Return probabilities `(n, 5)` of posts given by their passages: the highest of each class; NaN where unknown."""
    found = np.full((len(posts), len(HARM_CLASSES)), np.nan)
    rows = [row for passages in posts for row in passages]
    if not rows:
        return found
    scores, start = _known(model, model.encode(rows)), 0
    for place, passages in enumerate(posts):
        some = scores[start : start + len(passages)]
        start += len(passages)
        known = np.isfinite(some).any(axis=0)
        found[place, known] = np.nanmax(some[:, known], axis=0)
    return found


def _targets(taught: Sequence[Example], said: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return targets `(n, 5)`; of a post that nobody reported, what the champion `said` made less likely by that."""
    targets = np.array([one.targets for one in taught], np.float32)
    unseen = np.array([one.unreported is not None for one in taught])
    shown = np.array([one.unreported or 0 for one in taught], np.int64)
    targets[unseen] = less_likely(said[unseen].astype(np.float32), shown[unseen])
    return targets


def _known(model: HarmModel, batch: FeatureBatch) -> NDArray[np.float64]:
    known: NDArray[np.float64] = np.where(model.known(batch), model.probabilities(batch), np.nan)
    return known


def _telling(model: HarmModel, example: Example, passages: Sequence[PostFeatures]) -> PostFeatures:
    """Return the passage that a label is about: where the champion finds most of what was reported, or of anything."""
    if len(passages) == 1:
        return passages[0]
    said = np.nan_to_num(example.targets) > 0
    scores = model.probabilities(model.encode(passages))
    return passages[int(scores[:, said if said.any() else np.ones_like(said)].max(axis=1).argmax())]


def _some(examples: Sequence[Example], most: int) -> list[Example]:
    """Return at most so many, by the hash of their ids: the same ones in every round."""
    return sorted(examples, key=lambda one: post_hash(one.known.post_id))[:most]

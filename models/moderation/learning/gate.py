"""The gate: may a candidate be served instead of the champion?

Both are asked about posts that people judged by hand and that neither learned, and about texts of the base. The
candidate is

* *held* when anything is worse than it may be: a class it no longer tells apart, the figures on the base, what its
  probabilities mean, or, surely, the judged posts; and when too few posts were judged to tell;
* made *challenger* when nothing is worse, but the judged posts leave open whether it is: it then scores live posts
  beside the champion, and decides nothing;
* *promoted* when the interval of its difference on the judged posts lies above `-margin` (a test of non-inferiority).

The difference is that of the areas under the ROC curve, averaged over the classes that can be measured, with groups of
near-duplicates resampled (Efron 1979), both models on the same resample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.metrics.classification import expected_calibration_error, pr_auc, roc_auc

Floats = NDArray[np.float64]
Outcome = Literal["promoted", "challenger", "held"]
LEAST = 5  # examples of each side without which a class is not measured
HAND = "judged posts"
_RESAMPLES = 500


@dataclass(frozen=True)
class GateRule:
    """What a candidate has to keep to. Margins are of areas (0 to 1), `calibration` of the expected error.

    `margin` and `class_margin` are of areas under the ROC curve, `pr_margin` of those under the precision-recall curve:
    they move more, and fall first where the few posts that are restricted are the wrong ones.
    """

    min_hand: int = 100
    margin: float = 0.02
    class_margin: float = 0.05
    pr_margin: float = 0.05
    calibration: float = 0.03


@dataclass(frozen=True)
class Asked:
    """n posts or texts and what both said: probabilities `(n, 5)`, NaN where unknown; targets, NaN where not judged."""

    champion: Floats
    candidate: Floats
    targets: NDArray[np.float32]
    groups: NDArray[np.int64]

    def measurable(self) -> list[int]:
        """Return the places of the classes with enough examples of each side."""
        return [place for place in range(len(HARM_CLASSES)) if self._enough(self._truth(place))]

    def of(self, place: int) -> tuple[NDArray[np.bool_], Floats, Floats, NDArray[np.int64]]:
        """Return truth, the champion's and the candidate's scores, and groups of the posts judged for a class."""
        known = self._known(place)
        truth = self.targets[known, place] >= 0.5
        return truth, self.champion[known, place], self.candidate[known, place], self.groups[known]

    def _known(self, place: int) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = np.isfinite(self.targets[:, place]) & np.isfinite(self.champion[:, place])
        return known & np.isfinite(self.candidate[:, place])

    def _truth(self, place: int) -> NDArray[np.bool_]:
        return self.targets[self._known(place), place] >= 0.5

    @staticmethod
    def _enough(truth: NDArray[np.bool_]) -> bool:
        return min(int(truth.sum()), int((~truth).sum())) >= LEAST


@dataclass(frozen=True)
class Compared:
    """One class on one set of posts."""

    of: str
    harm: str
    examples: int
    harmful: int
    champion_roc: float
    candidate_roc: float
    champion_pr: float
    candidate_pr: float
    champion_error: float  # expected calibration error
    candidate_error: float


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion, with the 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and on what. `refused` says in words everything that was worse than it may be."""

    outcome: Outcome
    reason: str
    judged: int
    compared: tuple[Compared, ...]
    difference: Difference | None
    refused: tuple[str, ...]


def judge(
    hand: Asked, base: Mapping[str, Asked], rule: GateRule, origin: Mapping[str, float] = MappingProxyType({})
) -> Verdict:
    """Compare two models. `base` names the sets of texts whose figures may not fall.

    `origin` is the mean ROC area by set of the version that the champion's line began with: many rounds that each lose
    a little less than the margin must not lose much together.
    """
    compared = [one for name, asked in {HAND: hand, **base}.items() for one in _compare(name, asked)]
    refused = [
        *_lost(compared, rule),
        *_fallen(compared, rule, origin),
        *_less_precise(compared, rule),
        *_miscalibrated(compared, rule),
    ]
    measurable = hand.measurable()
    difference = _difference(hand, measurable) if measurable else None
    if difference is not None and difference.high < -rule.margin:
        refused.append(f"on {HAND} its ROC area is lower by {-difference.mean:.3f}, more than {rule.margin:g}")
    outcome: Outcome = "held"
    if refused:
        reason = "; ".join(refused)
    elif len(hand.targets) < rule.min_hand:
        reason = f"too few hand labels: {len(hand.targets)} posts, and {rule.min_hand} are needed to tell"
    elif difference is None:
        reason = f"too few hand labels: no class has {LEAST} harmful and {LEAST} harmless posts"
    elif difference.low >= -rule.margin:
        outcome = "promoted"
        reason = f"ROC area {difference.mean:+.4f} on {HAND}, surely not lower by more than {rule.margin:g}"
    else:
        outcome = "challenger"
        reason = (
            f"ROC area {difference.mean:+.4f} on {HAND} may be lower by up to {-difference.low:.4f}; the margin is "
            f"{rule.margin:g}"
        )
    return Verdict(outcome, reason, len(hand.targets), tuple(compared), difference, tuple(refused))


def _compare(name: str, asked: Asked) -> list[Compared]:
    found = []
    for place in asked.measurable():
        truth, old, new, _ = asked.of(place)
        found.append(
            Compared(
                of=name,
                harm=HARM_CLASSES[place],
                examples=len(truth),
                harmful=int(truth.sum()),
                champion_roc=roc_auc(truth, old),
                candidate_roc=roc_auc(truth, new),
                champion_pr=pr_auc(truth, old),
                candidate_pr=pr_auc(truth, new),
                champion_error=expected_calibration_error(truth, old),
                candidate_error=expected_calibration_error(truth, new),
            )
        )
    return found


def _lost(compared: list[Compared], rule: GateRule) -> list[str]:
    return [
        f"on {one.of} it tells {one.harm} apart worse: ROC area {one.candidate_roc:.3f}, the champion "
        f"{one.champion_roc:.3f}"
        for one in compared
        if one.of != HAND and one.candidate_roc < one.champion_roc - rule.class_margin
    ]


def mean_areas(compared: Sequence[Compared]) -> dict[str, float]:
    """Return the champion's mean ROC area by set of base texts: the origin of a line that begins with it."""
    names = dict.fromkeys(one.of for one in compared if one.of != HAND)
    return {name: float(np.mean([one.champion_roc for one in compared if one.of == name])) for name in names}


def _fallen(compared: list[Compared], rule: GateRule, origin: Mapping[str, float]) -> list[str]:
    refused = []
    for name, old in mean_areas(compared).items():
        new = float(np.mean([one.candidate_roc for one in compared if one.of == name]))
        if new < old - rule.margin:
            refused.append(f"on {name} its mean ROC area is {new:.3f}, the champion's {old:.3f}")
        elif new < origin.get(name, 0.0) - rule.margin:
            refused.append(
                f"on {name} its mean ROC area is {new:.3f}, that of the version which the line began with "
                f"{origin[name]:.3f}"
            )
    return refused


def _less_precise(compared: list[Compared], rule: GateRule) -> list[str]:
    refused = []
    for name in dict.fromkeys(one.of for one in compared if one.of != HAND):
        old = float(np.mean([one.champion_pr for one in compared if one.of == name]))
        new = float(np.mean([one.candidate_pr for one in compared if one.of == name]))
        if new < old - rule.pr_margin:
            refused.append(f"on {name} its mean precision-recall area is {new:.3f}, the champion's {old:.3f}")
    return refused


def _miscalibrated(compared: list[Compared], rule: GateRule) -> list[str]:
    refused = []
    for name in dict.fromkeys(one.of for one in compared):
        old = float(np.mean([one.champion_error for one in compared if one.of == name]))
        new = float(np.mean([one.candidate_error for one in compared if one.of == name]))
        if new > old + rule.calibration:
            refused.append(f"on {name} its probabilities are off by {new:.3f}, the champion's by {old:.3f}")
    return refused


def _difference(asked: Asked, places: list[int]) -> Difference:
    sides = [asked.of(place) for place in places]
    whole = float(np.mean([roc_auc(truth, new) - roc_auc(truth, old) for truth, old, new, _ in sides]))
    generator = np.random.default_rng(0)
    numbers = np.unique(asked.groups)
    means = []
    for _ in range(_RESAMPLES):
        counts = np.bincount(generator.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
        gains = []
        for truth, old, new, groups in sides:
            rows = np.repeat(np.arange(len(truth)), counts[np.searchsorted(numbers, groups)])
            if truth[rows].any() and not truth[rows].all():
                gains.append(roc_auc(truth[rows], new[rows]) - roc_auc(truth[rows], old[rows]))
        if gains:
            means.append(float(np.mean(gains)))
    low, high = np.quantile(means, [0.025, 0.975]) if means else (np.nan, np.nan)
    return Difference(whole, float(low), float(high))

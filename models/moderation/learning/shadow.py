"""A challenger beside the champion on live posts: what it says, what the policy would have made of it, who is right.

Actions are those of the policy that is in force now, on the scores of both: so they differ by the models alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.moderation import ACTIONS, HARM_CLASSES, Action, ChallengerScores, HarmClass, PostScores
from models.moderation.evaluate import ClassFigures, class_figures
from models.moderation.policy import Case, Policy, decide
from models.moderation.policy.schema import rank

Floats = NDArray[np.float64]


class ShadowRow(Struct, kw_only=True, frozen=True, gc=False):
    """A post that both scored: the case with the champion's scores, and what a person last said (None: nobody)."""

    case: Case
    challenger: ChallengerScores
    label: Action | None = None
    label_harm: HarmClass | None = None
    impressions: int = 0


@dataclass(frozen=True)
class Gap:
    """One class: challenger minus champion over the posts that both judge; `share_above` is that of gaps over 0.1."""

    posts: int
    mean: float
    mean_absolute: float
    share_above: float


@dataclass(frozen=True)
class Changed:
    """A post whose action would be another. `impressions` are those it had so far."""

    post_id: str
    now: Action
    then: Action
    harm: HarmClass | None
    impressions: int
    label: Action | None


@dataclass(frozen=True)
class OnLabels:
    """One class on the posts that people judged; precision and recall of what the policy enforces for any class."""

    champion: ClassFigures
    challenger: ClassFigures


@dataclass(frozen=True)
class Right:
    """Of posts that people judged: how many a model has the policy restrict, and how many of these people did."""

    restricted: int
    rightly: int
    harmful: int

    @property
    def precision(self) -> float | None:
        return self.rightly / self.restricted if self.restricted else None

    @property
    def recall(self) -> float | None:
        return self.rightly / self.harmful if self.harmful else None


@dataclass(frozen=True)
class Latency:
    """Milliseconds a post: median and 95th percentile; None where they were not measured."""

    median_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Comparison:
    """The whole report. `actions[now][then]` counts posts; `agreement` is the share with the same action."""

    champion: str
    challenger: str
    policy: str
    policy_version: str
    posts: int
    judged: int
    agreement: float | None
    actions: dict[Action, dict[Action, int]]
    milder: int
    stricter: int
    gaps: dict[HarmClass, Gap]
    changed: list[Changed]  # those shown most often first
    on_labels: dict[HarmClass, OnLabels]
    right: dict[str, Right]  # by `champion` and `challenger`
    latency: dict[str, Latency]


def compare(
    policy: Policy, rows: Iterable[ShadowRow], *, champion: str, challenger: str, examples: int = 20
) -> Comparison:
    """Compare two models on the posts that both scored. `examples` bounds the changed posts that are listed."""
    some = list(rows)
    actions: dict[Action, dict[Action, int]] = {now: dict.fromkeys(ACTIONS, 0) for now in ACTIONS}
    changed: list[Changed] = []
    now_then: list[tuple[Action, Action]] = []
    for row in some:
        now, harm = _action(policy, row.case, None)
        then, other = _action(policy, row.case, row.challenger)
        actions[now][then] += 1
        now_then.append((now, then))
        if now != then:
            changed.append(Changed(row.case.post.post_id, now, then, other or harm, row.impressions, row.label))
    same = sum(actions[action][action] for action in ACTIONS)
    old = _scores([row.case.scores.scores if isinstance(row.case.scores, PostScores) else {} for row in some])
    new = _scores([row.challenger.scores for row in some])
    judged = [place for place, row in enumerate(some) if row.label is not None]
    return Comparison(
        champion=champion,
        challenger=challenger,
        policy=policy.name,
        policy_version=policy.version,
        posts=len(some),
        judged=len(judged),
        agreement=same / len(some) if some else None,
        actions=actions,
        milder=sum(rank(then) < rank(now) for now, then in now_then),
        stricter=sum(rank(then) > rank(now) for now, then in now_then),
        gaps=_gaps(old, new),
        changed=sorted(changed, key=lambda one: (-one.impressions, one.post_id))[:examples],
        on_labels=_on_labels([some[place] for place in judged], old[judged], new[judged]),
        right={
            name: _right([some[place] for place in judged], [now_then[place][which] for place in judged])
            for which, name in enumerate(("champion", "challenger"))
        },
        latency={
            "champion": _latency([row.challenger.beside_s for row in some]),
            "challenger": _latency([row.challenger.took_s for row in some]),
        },
    )


def _action(policy: Policy, case: Case, challenger: ChallengerScores | None) -> tuple[Action, HarmClass | None]:
    if challenger is not None and isinstance(case.scores, PostScores):
        case = msgspec.structs.replace(case, scores=msgspec.structs.replace(case.scores, scores=challenger.scores))
    outcome = decide(policy, case)
    return outcome.machine, outcome.harm


def _scores(rows: list[dict[HarmClass, float | None]]) -> Floats:
    """Return scores as an array `(n, 5)`; NaN is unknown."""
    listed = [[np.nan if (value := row.get(harm)) is None else value for harm in HARM_CLASSES] for row in rows]
    return np.array(listed, np.float64).reshape(len(rows), len(HARM_CLASSES))


def _gaps(old: Floats, new: Floats) -> dict[HarmClass, Gap]:
    found: dict[HarmClass, Gap] = {}
    for place, harm in enumerate(HARM_CLASSES):
        gap = (new - old)[:, place]
        gap = gap[np.isfinite(gap)]
        if len(gap):
            found[harm] = Gap(len(gap), float(gap.mean()), float(np.abs(gap).mean()), float((np.abs(gap) > 0.1).mean()))
    return found


def _on_labels(rows: list[ShadowRow], old: Floats, new: Floats) -> dict[HarmClass, OnLabels]:
    """A post that people let through is harmless; one that they restricted is of one class, and unknown of others."""
    found: dict[HarmClass, OnLabels] = {}
    for place, harm in enumerate(HARM_CLASSES):
        said = [0.0 if row.label == "allow" else 1.0 if row.label_harm == harm else np.nan for row in rows]
        targets = np.array(said, np.float32)
        both = np.isfinite(old[:, place]) & np.isfinite(new[:, place])
        targets[~both] = np.nan
        if np.isfinite(targets).any():
            found[harm] = OnLabels(class_figures(old[:, place], targets), class_figures(new[:, place], targets))
    return found


def _right(rows: list[ShadowRow], actions: list[Action]) -> Right:
    restricted = [rank(action) >= rank("demote") for action in actions]
    harmful = [row.label in ("demote", "enforce") for row in rows]
    return Right(
        sum(restricted), sum(one and other for one, other in zip(restricted, harmful, strict=True)), sum(harmful)
    )


def _latency(seconds: list[float | None]) -> Latency:
    known = np.array([one for one in seconds if one is not None], np.float64) * 1000.0
    if not len(known):
        return Latency(None, None)
    return Latency(round(float(np.median(known)), 3), round(float(np.quantile(known, 0.95)), 3))

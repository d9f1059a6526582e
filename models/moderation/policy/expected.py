"""What the thresholds of a policy would do, by what a model measured on posts that it was not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES, Action, HarmClass
from models.moderation.policy.schema import Policy


@dataclass(frozen=True)
class Expected:
    """One threshold. Shares are of posts; `found` and `false_alarms` do not depend on how frequent harm is."""

    harm: HarmClass
    action: Action
    threshold: float
    found: float  # of the harmful, how many reach it
    false_alarms: float  # of the harmless, how many reach it
    right: float | None  # of those that reach it, how many are harmful; None where none would
    reached: float  # of all posts


def expected(policy: Policy, measured: Mapping[str, Any], prevalence: float | None = None) -> list[Expected]:
    """Return what each threshold of a policy would do, class by class, the mildest action first.

    With `r` found and `f` false alarms, of posts of which a share `p` is harmful, `p r + (1 - p) f` reach a threshold,
    and `p r` of them rightly. Between two thresholds that were measured, `r` and `f` are interpolated.

    Args:
        policy: whose thresholds.
        measured: what `evaluate.threshold_table` gave: a model's manifest has it under `thresholds`.
        prevalence: `p`, in each class. None: as it was among the posts that were measured.

    Raises:
        InvalidInput: a prevalence that is no share.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise InvalidInput(f"a prevalence of {prevalence:g} is no share of posts; it lies between 0 and 1")
    found = []
    for harm in HARM_CLASSES:
        rows = measured.get(harm, {}).get("thresholds", {})
        if len(rows) < 2:
            continue
        at = np.array([float(threshold) for threshold in rows])
        recall = np.array([row["recall"] for row in rows.values()])
        alarms = np.array([row["false_positive_rate"] for row in rows.values()])
        share = _harmful(list(rows.values())) if prevalence is None else prevalence
        for action, threshold in policy.classes.of(harm).thresholds:
            if threshold is None:
                continue
            r, f = float(np.interp(threshold, at, recall)), float(np.interp(threshold, at, alarms))
            reached = share * r + (1 - share) * f
            right = share * r / reached if reached > 0 else None
            found.append(Expected(harm, action, threshold, r, f, right, reached))
    return found


def _harmful(rows: list[Mapping[str, float]]) -> float:
    """Return the share of harmful posts among those that were measured, from the numbers at one threshold."""
    row = max(rows, key=lambda one: one["recall"])
    harmful = row["flagged"] * row["precision"] / row["recall"]
    wrong = row["flagged"] * (1 - row["precision"])
    return float(harmful / (harmful + wrong / row["false_positive_rate"]))

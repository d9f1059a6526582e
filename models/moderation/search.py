"""Choosing settings on held-out folds: a grid, or Optuna. The score is the mean ROC area over parts and classes."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.evaluate import by_part
from models.moderation.evaluate_ladder import mean_roc
from models.moderation.fit import TrainSettings
from models.moderation.losses import LossConfig
from models.moderation.train import Prepared, fit_model
from models.progress import Report

Method = Literal["none", "grid", "optuna"]

SPACE: Mapping[str, Sequence[Any]] = {
    "learning_rate": (1e-3, 2e-3, 4e-3),
    "steps": (800, 1_600, 2_400),
    "text_hidden": (16, 32, 64),
    "dropout": (0.1, 0.3, 0.5),
    "input_dropout": (0.3, 0.5, 0.7),
    "judged_share": (0.3, 0.5, 0.7),
    "loss": ("cross-entropy", "focal", "class-balanced"),
}
GRID: Mapping[str, Sequence[Any]] = {
    "steps": (1_600, 2_400),
    "dropout": (0.1, 0.3),
    "judged_share": (0.5, 0.7),
}
"""What the grid goes through; Optuna draws from all of `SPACE`."""


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and the mean ROC area they reached."""

    changes: Mapping[str, Any]
    value: float


def search(
    prepared: Prepared,
    settings: TrainSettings,
    *,
    method: Method = "grid",
    trials: int = 20,
    folds: Sequence[int] = (0, 1),
    report: Report = lambda stage, done, total: None,
) -> tuple[TrainSettings, list[Trial]]:
    """Return the best settings and every trial. Each trial is one network, measured on two of five held-out folds.

    Raises:
        InvalidInput: no such method, or fewer than one trial.
    """
    if method == "none":
        return settings, []
    if method not in ("grid", "optuna") or trials < 1:
        raise InvalidInput(f"a search is `grid` or `optuna` with at least one trial, got {method!r} and {trials}")
    done: list[Trial] = []

    def value_of(changes: Mapping[str, Any]) -> float:
        known = next((trial.value for trial in done if trial.changes == changes), None)
        value = _measure(prepared, changed(settings, changes), folds) if known is None else known
        done.append(Trial(dict(changes), value))
        return value

    if method == "grid":
        combinations = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
        for number, changes in enumerate(combinations):
            report("grid", number, len(combinations))
            value_of(changes)
    else:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
        for number in range(trials):
            report("optuna", number, trials)
            trial = study.ask()
            changes = {name: trial.suggest_categorical(name, list(values)) for name, values in SPACE.items()}
            study.tell(trial, value_of(changes))
    best = max(done, key=lambda trial: trial.value)
    return changed(settings, best.changes), done


def changed(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    """Return settings with changes; `loss` may be named. Raises InvalidInput for a setting that there is not."""
    plain = dict(changes)
    if isinstance(plain.get("loss"), str):
        plain["loss"] = replace(settings.loss, name=plain["loss"])
    elif isinstance(plain.get("loss"), Mapping):
        plain["loss"] = LossConfig(**plain["loss"])
    try:
        return replace(settings, **plain)
    except TypeError as error:
        names = ", ".join(TrainSettings.__dataclass_fields__)
        raise InvalidInput(f"there is no such setting: {error}; there are {names}") from error


def _measure(prepared: Prepared, settings: TrainSettings, folds: Sequence[int]) -> float:
    one = replace(settings, members=1)
    fold = prepared.data.folds(5, settings.seed + 1)
    out = np.full((len(prepared.data), len(HARM_CLASSES)), np.nan)
    for number in folds:
        held = fold == number
        fitted = fit_model(prepared.data.rows(~held), prepared.full.rows(~held), one, prepared.scaling.widths)
        out[held] = fitted.logits(prepared.bare.rows(held))
    return mean_roc(by_part(prepared.data, out, intervals=False))

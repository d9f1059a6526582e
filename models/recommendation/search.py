"""Choosing settings on the validation split. The test split is not even an argument here."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.errors import InvalidInput
from models.recommendation.evaluate import measure
from models.recommendation.recommender import Report, silent
from models.recommendation.splits import Split
from models.recommendation.zoo import Entry

Method = Literal["none", "grid", "optuna"]
OBJECTIVE = "ndcg@10"


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and what they reached on the validation split."""

    changes: Mapping[str, Any]
    value: float


def search(
    entry: Entry, validation: Split, *, method: Method = "grid", trials: int = 20, report: Report = silent
) -> tuple[Mapping[str, Any], list[Trial]]:
    """Return the settings with the best nDCG@10 on the validation split, and every trial.

    `grid` tries all combinations of the entry's space; `optuna` lets a TPE sampler choose `trials` of them, none twice,
    seeded. A model without a space, and the method `none`, return no changes.
    """
    if method == "none" or not entry.space:
        return {}, []
    if trials < 1:
        raise InvalidInput(f"a search needs at least one trial, got {trials}")
    every = [dict(zip(entry.space, values, strict=True)) for values in itertools.product(*entry.space.values())]
    wanted = len(every) if method == "grid" else min(trials, len(every))
    stage = f"searching {entry.name}"
    done: list[Trial] = []

    def value_of(changes: Mapping[str, Any]) -> float:
        model = entry.build(changes)
        model.fit(validation.train)
        value = measure(model.score(validation.users), validation).values[OBJECTIVE]
        done.append(Trial(changes, value))
        report(stage, len(done), wanted)
        return value

    report(stage, 0, wanted)
    if method == "grid":
        for changes in every:
            value_of(changes)
    else:
        _by_optuna(every, entry.space, wanted, value_of)
    best = max(done, key=lambda trial: trial.value)
    return best.changes, done


def _by_optuna(
    every: list[dict[str, Any]],
    space: Mapping[str, tuple[Any, ...]],
    wanted: int,
    value_of: Callable[[Mapping[str, Any]], float],
) -> None:
    """Try `wanted` different settings that the sampler chooses; where it repeats itself, one by chance comes next."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    rng = np.random.default_rng(0)
    left = list(range(len(every)))
    values: dict[int, float] = {}
    while len(values) < wanted:
        trial = study.ask()
        chosen = every.index({name: trial.suggest_categorical(name, list(space[name])) for name in space})
        if chosen in values:
            study.enqueue_trial(every[int(rng.choice(left))])
        else:
            left.remove(chosen)
            values[chosen] = value_of(every[chosen])
        study.tell(trial, values[chosen])

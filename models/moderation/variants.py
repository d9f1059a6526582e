"""Other ways to build a harm model, for comparison on the same folds: fusion, heads, losses, and simple baselines.

Each variant learns from some posts and gives logits `(n, 5)` of others. Those that judge `bare` posts see the text
alone while they are tested, as a post is when it has just been made.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.moderation.baselines import HEADS, LogisticHeads, TfIdf
from models.moderation.features import MODALITIES, FeatureBatch
from models.moderation.fit import (
    FusedNetworks,
    TrainSettings,
    drawing_chances,
    fit_fused,
    fit_members,
    logits_of,
    network_config,
)
from models.moderation.losses import LossConfig
from models.moderation.model import FusionNetwork
from models.moderation.stacking import Stack, fit_stack

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """What a variant learns from, or is asked about. `vectors` `(n, D)` are those of the texts.

    `batch` has the opinions of experts: while learning, of ones that did not see the text.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    profane: Floats
    batch: FeatureBatch
    targets: NDArray[np.float32]
    parts: NDArray[np.str_]
    names: tuple[str, ...] = ()  # of the experts

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return self.batch.dense["experts"].shape[1] if "experts" in self.batch.dense else 0

    def rows(self, chosen: NDArray[np.bool_]) -> "Examples":
        """Return those of a mask."""
        return Examples(
            tuple(text for text, kept in zip(self.texts, chosen, strict=True) if kept),
            self.vectors[chosen],
            self.profane[chosen],
            self.batch.rows(chosen),
            self.targets[chosen],
            self.parts[chosen],
            self.names,
        )

    def beside(self, batch: FeatureBatch, names: tuple[str, ...] | None = None) -> "Examples":
        """Return the same examples with other arrays, and the names of the experts whose opinions are in them."""
        return replace(self, batch=batch, names=self.names if names is None else names)


class Fitted(Protocol):
    """What a variant became."""

    parameters: int

    def logits(self, examples: Examples) -> Floats:
        """Return `(n, 5)`; NaN for a class that the variant does not tell."""
        ...


@dataclass(frozen=True)
class Variant:
    """A way to build a model. `what` says it in one line."""

    name: str
    what: str
    fit: Callable[[Examples, TrainSettings, Mapping[str, int]], Fitted]


@dataclass
class Fused:
    """Fusion networks with an output a class, tempered or not."""

    networks: FusedNetworks
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        return self.networks.logits(examples.batch)


@dataclass
class Networks:
    """Fusion networks. `columns` are their outputs' places among the classes; one output may stand for all."""

    members: list[FusionNetwork]
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        out = logits_of(self.members, examples.batch)
        return np.repeat(out, len(HARM_CLASSES), axis=1) if out.shape[1] == 1 else out


@dataclass
class PerClass:
    """One set of networks a class."""

    models: list[list[FusionNetwork]]
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        return np.concatenate([logits_of(members, examples.batch) for members in self.models], axis=1)


@dataclass
class LateFusion:
    """One set of networks a modality; their logits are weighed by a logistic regression a class."""

    models: dict[str, list[FusionNetwork]]
    weights: list[LogisticHeads]
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        inputs = late_inputs(self.models, examples.batch)
        return np.concatenate([heads.logits(inputs[:, place]) for place, heads in enumerate(self.weights)], axis=1)


@dataclass
class Linear:
    """Logistic heads on vectors or on words."""

    heads: LogisticHeads
    words: TfIdf | None
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        inputs = examples.vectors if self.words is None else self.words.encode(examples.texts)
        return self.heads.logits(inputs)


@dataclass
class PartHeads:
    """Logistic heads of each judged part alone, which are told what part a text is of."""

    heads: dict[str, LogisticHeads]
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        out = np.full((len(examples.texts), len(HARM_CLASSES)), np.nan)
        for part, heads in self.heads.items():
            rows = examples.parts == part
            out[rows] = heads.logits(examples.vectors[rows])
        return out


@dataclass
class Stacked:
    """The experts' opinions weighed by logistic heads, without a network."""

    stack: Stack
    parameters: int

    def logits(self, examples: Examples) -> Floats:
        return self.stack.logits(examples.batch.dense["experts"])


@dataclass
class Profane:
    """The share of profane words, for every class."""

    parameters: int = 0

    def logits(self, examples: Examples) -> Floats:
        return np.repeat(examples.profane[:, None], len(HARM_CLASSES), axis=1)


def early(
    name: str, what: str, heads: str = "task", loss: LossConfig | None = None, experts: bool = True, **changes: object
) -> Variant:
    """Return an early-fusion variant with other heads, another loss, without experts, or with other settings."""

    def fit(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
        chosen = replace(settings, **changes) if changes else settings  # type: ignore[arg-type]
        chosen = replace(chosen, loss=loss) if loss else chosen
        batch = examples.batch if experts else examples.batch.lacking("experts")
        config = network_config(widths, chosen, examples.experts if experts else 0, heads=heads)
        networks = fit_fused(
            batch, examples.targets, chosen, config, parts=examples.parts, experts=examples.names if experts else ()
        )
        return Fused(networks, _parameters(networks.members))

    return Variant(name, what, fit)


def _fit_binary(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    known = np.isfinite(examples.targets)
    any_harm = np.where(known, examples.targets, -1.0).max(axis=1, keepdims=True).astype(np.float32)
    config = network_config(widths, settings, examples.experts, outputs=("any",))
    members = fit_members(examples.batch, any_harm, settings, config, parts=examples.parts, experts=examples.names)
    return Networks(members, _parameters(members))


def _fit_per_class(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    models = []
    for place, harm in enumerate(HARM_CLASSES):
        rows = np.isfinite(examples.targets[:, place])
        targets = examples.targets[rows, place : place + 1]
        config = network_config(widths, settings, examples.experts, outputs=(harm,))
        some = examples.rows(rows)
        models.append(fit_members(some.batch, targets, settings, config, parts=some.parts, experts=some.names))
    return PerClass(models, sum(_parameters(members) for members in models))


def _fit_late(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    whole = replace(settings, drop_surroundings=0.0, drop_each=0.0, drop_text=0.0)
    models = {
        name: fit_members(
            examples.batch.without(*(other for other in MODALITIES if other != name)),
            examples.targets,
            whole,
            network_config(widths, whole, examples.experts, modalities=(name,)),
            parts=examples.parts,
            experts=examples.names,
        )
        for name in MODALITIES
    }
    # Weighed on rows of which some modalities are hidden, as they are when posts are new.
    generator = np.random.default_rng(settings.seed)
    hidden = examples.batch.present & (generator.random(examples.batch.present.shape) < 0.5)
    inputs = late_inputs(models, examples.batch)
    for column in range(len(MODALITIES)):
        inputs[hidden[:, column], :, column] = 0.0
    weights = [
        LogisticHeads(strength=1.0).fit(inputs[:, place], examples.targets[:, [place]])
        for place in range(len(HARM_CLASSES))
    ]
    return LateFusion(models, weights, sum(_parameters(members) for members in models.values()))


def late_inputs(models: Mapping[str, list[FusionNetwork]], batch: FeatureBatch) -> Floats:
    """Return `(n, 5, modalities)`: each modality's logit of each class, 0 where the modality is missing."""
    columns = []
    for place, name in enumerate(MODALITIES):
        logits = logits_of(models[name], batch.without(*(other for other in MODALITIES if other != name)))
        columns.append(np.where(batch.present[:, place, None], logits, 0.0))
    return np.stack(columns, axis=2)


def _fit_vectors(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    heads = LogisticHeads(strength=HEADS).fit(examples.vectors, examples.targets)
    return Linear(heads, None, len(HARM_CLASSES) * (examples.vectors.shape[1] + 1))


def _fit_parts(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    heads = {
        part: LogisticHeads(strength=HEADS).fit(
            examples.vectors[examples.parts == part], examples.targets[examples.parts == part]
        )
        for part in np.unique(examples.parts)
        if part
    }
    return PartHeads(heads, len(heads) * len(HARM_CLASSES) * (examples.vectors.shape[1] + 1))


def _fit_stacked(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    opinions = examples.batch.dense["experts"]
    chances = drawing_chances(examples.parts, len(opinions), settings.judged_share)
    stack = fit_stack(opinions, examples.targets, chances, examples.names, HARM_CLASSES, soft=settings.soft)
    return Stacked(stack, stack.weight.size)


def _fit_words(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    words = TfIdf().fit(examples.texts)
    inputs = words.encode(examples.texts)
    heads = LogisticHeads(strength=10.0).fit(inputs, examples.targets)
    return Linear(heads, words, len(HARM_CLASSES) * (inputs.shape[1] + 1))


def _fit_profane(examples: Examples, settings: TrainSettings, widths: Mapping[str, int]) -> Fitted:
    return Profane()


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("profanity", "share of profane words, learns nothing", _fit_profane),
        Variant("tf-idf", "words and pairs of words, logistic heads", _fit_words),
        Variant("logistic", "logistic heads on frozen text vectors", _fit_vectors),
        Variant("per-part", "logistic heads of each part alone, told which part a text is of", _fit_parts),
        Variant("stacked", "linear experts weighed by logistic heads, no network", _fit_stacked),
        Variant("binary", "one network: harmful or not", _fit_binary),
        Variant("per-class", "a network a class, early fusion", _fit_per_class),
        early("multi-label", "early fusion, one output layer for all classes", heads="shared"),
        Variant("late", "late fusion: a network a modality, their logits weighed", _fit_late),
        early("multi-task", "early fusion, experts, shared layers, a head a class: the model"),
        early("no-experts", "the model without the linear experts", experts=False),
        early("untempered", "the model whose networks say what they like of any text", tempered=False),
        early("not-stacked", "the model with free members only, none on the stacked experts", stacked=False),
        early("all-stacked", "the model with no free member", free=0),
        early("focal", "the model with focal loss", loss=LossConfig("focal")),
        early("class-balanced", "the model with class-balanced loss", loss=LossConfig("class-balanced")),
        early("single", "the model as one network instead of several", members=1),
        early("hard-labels", "the model on labels of 0 and 1 instead of scores", soft=False),
        early("no-dropout", "the model without modality dropout", drop_surroundings=0.0, drop_each=0.0, drop_text=0.0),
    )
}
MODEL_VARIANT = "multi-task"


def timed_fit(
    variant: Variant, examples: Examples, settings: TrainSettings, widths: Mapping[str, int]
) -> tuple[Fitted, float]:
    """Fit a variant and return it with the seconds that took."""
    started = time.perf_counter()
    return variant.fit(examples, settings, widths), time.perf_counter() - started


def _parameters(members: list[FusionNetwork]) -> int:
    return sum(parameter.numel() for member in members for parameter in member.parameters())

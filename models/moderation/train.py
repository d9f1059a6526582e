"""Training the harm model end to end: texts, vectors, held-out logits, calibration, the final networks, a folder."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from core.clock import Clock, SystemClock
from core.moderation import HARM_CLASSES
from core.ports import ImageEncoder, TextEncoder
from core.release import release
from models.moderation.baselines import held_out_heads
from models.moderation.calibration import fit_platt
from models.moderation.card import render_card
from models.moderation.data import PARTS, HarmTexts, licences, training_texts
from models.moderation.drift import write_reference
from models.moderation.evaluate import as_plain, by_part, calibration_figures, threshold_table
from models.moderation.evaluate_probes import probe
from models.moderation.experts import Experts
from models.moderation.experts_fit import fit_experts
from models.moderation.features import MODALITIES, FeatureBatch, FeatureScaling
from models.moderation.fit import FusedNetworks, TrainSettings, fit_fused, network_config
from models.moderation.posts import Surroundings, bare_posts, harmless_images, simulated_posts, surroundings_of
from models.moderation.quantize import compare_quantized, quantized
from models.moderation.score import MODEL, Described, HarmModel
from models.moderation.vectors import VectorCache
from models.moderation.weights import arrays_of, save_model
from models.moderation.wording import ProfaneWords, profane_words_of
from models.progress import Report
from models.registry.manifest import CARD, WEIGHTS, Manifest, file_sha256

JUDGED_FROM = {"text": HARM_CLASSES, "image": ("nudity",)}
"""What suffices to judge a class. Of images only the NSFW score says anything, and of nudity alone."""


@dataclass(frozen=True)
class Prepared:
    """Training texts with everything that networks need: arrays with and without what is simulated."""

    data: HarmTexts
    vectors: NDArray[np.float32]
    words: ProfaneWords
    surroundings: Surroundings
    scaling: FeatureScaling
    full: FeatureBatch
    bare: FeatureBatch

    @property
    def digest(self) -> str:
        """A hash of everything that networks learn from."""
        hashed = hashlib.sha256(self.data.digest.encode())
        for name in sorted(self.full.dense):
            hashed.update(np.ascontiguousarray(self.full.dense[name]).data)
        return hashed.hexdigest()


@dataclass(frozen=True)
class Trained:
    """A model folder for the registry."""

    folder: Path
    manifest: Manifest


def prepare(
    home: Path,
    encoder: TextEncoder,
    images: NDArray[np.float32],
    *,
    data: HarmTexts | None = None,
    seed: int = 0,
    report: Report = lambda stage, done, total: None,
) -> Prepared:
    """Read (or take) the texts, embed what is new, simulate what surrounds them, and make arrays.

    `images` `(m, I)` are vectors of harmless images.

    Raises:
        ConfigurationError: the data sets that harm is learned from are not installed.
    """
    data = data or training_texts(home)
    cache = VectorCache(home, encoder)
    vectors = cache.encode(data.texts, report)
    words = profane_words_of(home)
    around = surroundings_of(cache, images, report)
    posts = simulated_posts(data, vectors, around, words, seed=seed)
    scaling = FeatureScaling.fit(posts, text_dim=encoder.dim, image_dim=images.shape[1])
    bare = bare_posts(data.texts, vectors, data.languages, words)
    return Prepared(data, vectors, words, around, scaling, scaling.encode(posts), scaling.encode(bare))


def held_out_logits(
    prepared: Prepared,
    settings: TrainSettings,
    *,
    folds: int = 5,
    keep: Path | None = None,
    report: Report = lambda stage, done, total: None,
) -> NDArray[np.float64]:
    """Return logits `(n, 5)`, by the text alone, of models that never saw the text nor a near-duplicate.

    With a folder `keep`, finished folds are kept there, and those of the same data and settings are taken from there.
    """
    fold = prepared.data.folds(folds, settings.seed)
    out = np.zeros((len(prepared.data), len(HARM_CLASSES)))
    key = hashlib.sha256(f"{prepared.digest} {settings} {folds}".encode()).hexdigest()[:16]
    for number in range(folds):
        report("cross-validating", number, folds)
        held = fold == number
        kept = None if keep is None else keep / f"fold-{number}-{key}.safetensors"
        if kept is not None and kept.is_file():
            out[held] = load_file(kept)["logits"]
            continue
        fitted = fit_model(prepared.data.rows(~held), prepared.full.rows(~held), settings, prepared.scaling.widths)
        out[held] = fitted.logits(prepared.bare.rows(held))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_file({"logits": out[held]}, kept)
    report("cross-validating", folds, folds)
    return out


def heads_of_parts(prepared: Prepared, seed: int, *, folds: int = 5) -> NDArray[np.float64]:
    """Return logits `(n, 5)` of the strongest simple baseline, in the same folds: logistic heads on the text's vector,
    learned from the texts of its own part alone; NaN for texts of no part."""
    fold, out = prepared.data.folds(folds, seed), np.full(prepared.data.targets.shape, np.nan)
    for part in PARTS:
        rows = prepared.data.of(part)
        if rows.any():
            out[rows] = held_out_heads(prepared.vectors[rows], prepared.data.targets[rows], fold[rows])
    return out


@dataclass(frozen=True)
class FittedModel:
    """Experts and networks."""

    experts: Experts
    networks: FusedNetworks

    def logits(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return uncalibrated logits `(n, 5)`."""
        return self.networks.logits(batch.beside(experts=self.experts.opinions(batch)))


def fit_model(data: HarmTexts, batch: FeatureBatch, settings: TrainSettings, widths: Mapping[str, int]) -> FittedModel:
    """Fit experts, then networks on the opinions of experts that did not see the text."""
    experts, opinions = fit_experts(data, batch, data.folds(4, settings.seed + 1))
    config = network_config(widths, settings, opinions.shape[1])
    networks = fit_fused(
        batch.beside(experts=opinions), data.targets, settings, config, parts=data.parts, experts=experts.names
    )
    return FittedModel(experts, networks)


def load_prepared(
    home: Path,
    text_encoder: TextEncoder,
    image_encoder: ImageEncoder,
    *,
    seed: int = 0,
    report: Report = lambda stage, done, total: None,
) -> Prepared:
    """Prepare the installed texts; harmless images are those of the installed data sets of images.

    Raises:
        ConfigurationError: the data sets that harm is learned from are not installed.
    """
    data = training_texts(home)  # what is missing is told before anything is embedded
    return prepare(home, text_encoder, harmless_images(home, image_encoder), data=data, seed=seed, report=report)


def train_moderation(
    prepared: Prepared,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    home: Path,
    text_encoder: TextEncoder,
    image_encoder: str,
    int8: bool = False,
    keep: Path | None = None,
    trials: Sequence[Mapping[str, Any]] = (),
    command: str = "riverlight train moderation",
    clock: Clock | None = None,
    report: Report = lambda stage, done, total: None,
) -> Trained:
    """Fit, calibrate on held-out logits, measure, and write a model folder that the registry accepts.

    `image_encoder` is the version whose vectors `prepared` has; `int8` writes quantized weights; `keep` is a folder for
    what is finished, so that a training that was stopped goes on there; `trials` are what a search tried.
    """
    settings = settings or TrainSettings()
    logits = held_out_logits(prepared, settings, keep=keep, report=report)
    calibration = fit_platt(logits, prepared.data.targets)
    report("fitting", 0, 1)
    fitted = fit_model(prepared.data, prepared.full, settings, prepared.scaling.widths)
    report("fitting", 1, 1)
    described = Described(
        text_encoder=text_encoder.version,
        image_encoder=image_encoder,
        scaling=prepared.scaling,
        modalities=MODALITIES,
        outputs=HARM_CLASSES,
        members=len(fitted.networks.members),
        heads=fitted.networks.members[0].config.heads,
        experts=fitted.experts.names,
        judged_from=JUDGED_FROM,
    )
    out.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(fitted.networks.members, fitted.experts, calibration, fitted.networks.tempering)
    compared = compare_quantized(arrays, described, prepared.bare, prepared.data, out)
    save_model(quantized(arrays) if int8 else arrays, described, out / WEIGHTS)
    manifest = Manifest(
        model=MODEL,
        sha256=file_sha256(out / WEIGHTS),
        created=(clock or SystemClock()).now().astimezone(UTC).isoformat(timespec="seconds"),
        code_version=release(),
        command=command,
        seed=settings.seed,
        parent=f"text vectors of {text_encoder.version}, image vectors of {image_encoder}",
        data={**prepared.data.summary(), "licences": licences(home)},
        settings={**asdict(settings), "text_encoder": text_encoder.version, "image_encoder": image_encoder},
    )
    manifest.write(out)
    probabilities = calibration.apply(logits)
    write_reference(out, prepared.data.texts, prepared.vectors, prepared.words, probabilities, sha256=manifest.sha256)
    metrics = {
        "held_out": by_part(prepared.data, probabilities),
        "heads": by_part(prepared.data, heads_of_parts(prepared, settings.seed), intervals=False),
        "calibration": calibration_figures(prepared.data, logits, prepared.data.folds(5, settings.seed)),
        "thresholds": threshold_table(probabilities, prepared.data.targets),
        "quantized": compared,
        "int8": int8,
        "experts": len(fitted.experts.names),
        "trials": list(trials),
        **probe(HarmModel.load(out), VectorCache(home, text_encoder), prepared.words, prepared.surroundings),
    }
    manifest = replace(manifest, metrics=as_plain(metrics))
    manifest.write(out)
    (out / CARD).write_text(render_card(manifest), encoding="utf-8")
    return Trained(out, manifest)

"""A small world for learning: harm is in words, a champion knows some of them, people report others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.moderation.calibration import PlattCalibration
from models.moderation.experts import Experts
from models.moderation.features import MODALITIES, FeatureScaling, PostFeatures
from models.moderation.fit import TrainSettings, fit_members, network_config
from models.moderation.learning.base import OWN, Base, Question
from models.moderation.learning.examples import Example, Known
from models.moderation.learning.saved import SavedModel, load_saved
from models.moderation.lexical import COLUMNS
from models.moderation.quantize import quantized
from models.moderation.score import MODEL, Described
from models.moderation.train import JUDGED_FROM
from models.moderation.weights import arrays_of, save_model
from models.registry.manifest import WEIGHTS, Manifest, file_sha256
from tests.fakes.text_encoder import FakeTextEncoder

ENCODER = FakeTextEncoder()
HATE = HARM_CLASSES.index("hate")


def text(generator: np.random.Generator, *harmful: str) -> str:
    """Return a text of twelve words; those of `harmful` are among them (three of each kind)."""
    words = [f"plain{number}" for number in generator.integers(0, 300, 12 - 3 * len(harmful))]
    words += [f"{kind}{number}" for kind in harmful for number in generator.integers(0, 6, 3)]
    return " ".join(generator.permutation(words))


def texts(generator: np.random.Generator, count: int, *harmful: str) -> list[str]:
    return [text(generator, *harmful) for _ in range(count)]


def posts(some: Sequence[str]) -> list[PostFeatures]:
    return [
        PostFeatures(text=one, text_vector=row, profane_rate=0.0, obfuscated=0.0)
        for one, row in zip(some, ENCODER.encode(some), strict=True)
    ]


def labelled(generator: np.random.Generator, each: int) -> tuple[list[str], NDArray[np.float32]]:
    """Return texts of every class that the champion knows, and as many harmless ones, with their targets."""
    some: list[str] = []
    rows = []
    for place, harm in enumerate(HARM_CLASSES):
        some += texts(generator, each, harm)
        rows += [np.eye(len(HARM_CLASSES), dtype=np.float32)[place]] * each
    some += texts(generator, each * len(HARM_CLASSES))
    rows += [np.zeros(len(HARM_CLASSES), np.float32)] * (each * len(HARM_CLASSES))
    return some, np.array(rows, np.float32)


def write_champion(folder: Path, *, int8: bool = False) -> SavedModel:
    """Fit a champion on words of each class and write it as a model folder."""
    some, targets = labelled(np.random.default_rng(1), 60)
    found = posts(some)
    surrounded = [replace(found[0], hour=3, impressions=10.0, author_posts=3.0), *found[1:]]
    scaling = FeatureScaling.fit(surrounded, text_dim=ENCODER.dim, image_dim=4)
    settings = TrainSettings(steps=300, members=2, learning_rate=5e-3, input_dropout=0.1, dropout=0.1)
    members = fit_members(scaling.encode(found), targets, settings, network_config(scaling.widths, settings))
    none = np.zeros(0, np.float32)
    experts = Experts((), np.zeros((0, scaling.widths["text"] + COLUMNS), np.float32), none, none, none)
    described = Described(
        ENCODER.version, "visual-search/test", scaling, MODALITIES, HARM_CLASSES, 2, "task", (), JUDGED_FROM
    )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(members, experts, PlattCalibration([1.0] * 5, [0.0] * 5, [True] * 5))
    save_model(quantized(arrays) if int8 else arrays, described, folder / WEIGHTS)
    Manifest(MODEL, file_sha256(folder / WEIGHTS), "2026-11-22T00:00:00+00:00", "test", "test", 0).write(folder)
    return load_saved(folder)


def base(saved: SavedModel) -> Base:
    """Return anchors of the champion's kind, and questions of that kind that nobody learned."""
    scaling = saved.described.scaling
    anchors, _ = labelled(np.random.default_rng(2), 40)
    asked, targets = labelled(np.random.default_rng(3), 30)
    question = Question(scaling.encode(posts(asked)), targets, np.arange(len(asked)))
    return Base(scaling.encode(posts(anchors)), {OWN: question}, anchors, True)


def example(post_id: str, words: str, targets: NDArray[np.float32]) -> Example:
    return Example(Known(post_id=post_id, text=words, language="en"), targets)


def unreported(post_id: str, words: str, impressions: int) -> Example:
    """Return a post that so many saw and nobody reported."""
    untold = np.full(len(HARM_CLASSES), np.nan, np.float32)
    return Example(Known(post_id=post_id, text=words, language="en"), untold, impressions)


def harmful(place: int, value: float = 1.0) -> NDArray[np.float32]:
    """Return targets of which one class is known."""
    row = np.full(len(HARM_CLASSES), np.nan, np.float32)
    row[place] = value
    return row


HARMLESS = np.zeros(len(HARM_CLASSES), np.float32)

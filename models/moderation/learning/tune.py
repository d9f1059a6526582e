"""Going on from the champion's weights: it learns what reports say, and keeps what it knew.

What it knew is kept by learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282): on anchors, and for classes
that nobody spoke of, the champion's own probabilities are the targets. Of the texts it was first trained on only these
are learned, not the labels: the experts have seen those texts, and networks would trust them more than they deserve.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import RiverlightError
from models.moderation.features import FeatureBatch
from models.moderation.fit import TrainSettings, drop_modalities, logits_of, tensors
from models.moderation.learning.saved import SavedModel
from models.moderation.logistic import sigmoid
from models.moderation.losses import LossConfig, task_losses
from models.moderation.model import FusionNetwork
from models.progress import Report

_SURE = 0.98  # no post is certain, and a target of one would pull a logit without end


class Stopped(RiverlightError):
    """A round was asked to stop before it had anything to register."""

    code = "stopped"


@dataclass(frozen=True)
class TuneSettings:
    """`taught_share` of each batch are posts that people reported or did not, the rest are anchors."""

    steps: int = 300
    batch_size: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    taught_share: float = 0.3
    seed: int = 20261122
    threads: int = 1
    hidden: TrainSettings = field(default_factory=TrainSettings)  # what of a post is hidden while learning


def tune(
    saved: SavedModel,
    taught: FeatureBatch,
    targets: NDArray[np.float32],
    anchors: FeatureBatch,
    settings: TuneSettings,
    *,
    report: Report = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[FusionNetwork]:
    """Return networks that learned `targets` `(n, 5)` of the taught posts (NaN: nobody said), from the champion's.

    Raises:
        Stopped: `stop` said so.
    """
    torch.set_num_threads(settings.threads)
    taught, anchors = saved.beside_opinions(taught), saved.beside_opinions(anchors)
    batch = FeatureBatch(
        {name: np.concatenate([values, anchors.dense[name]]) for name, values in taught.dense.items()},
        np.concatenate([taught.places, anchors.places]),
        np.concatenate([taught.present, anchors.present]),
    )
    wanted = sigmoid(logits_of(saved.members, batch))
    said = np.isfinite(targets)
    wanted[: len(taught)][said] = _uncalibrated(saved, targets, saved.change(taught))[said]
    soft = wanted.astype(np.float32)
    chances = np.full(len(batch), (1.0 - settings.taught_share) / max(len(anchors), 1), np.float32)
    chances[: len(taught)] = settings.taught_share / max(len(taught), 1)
    if not len(anchors):
        chances[:] = 1.0
    members = []
    for number, member in enumerate(saved.members):
        report("learning", number * settings.steps, len(saved.members) * settings.steps)
        members.append(_tuned(member, batch, soft, chances, settings, settings.seed + number, stop))
    report("learning", len(members) * settings.steps, len(members) * settings.steps)
    return members


def _uncalibrated(saved: SavedModel, targets: NDArray[np.float32], change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return targets as the networks say them: tempering and calibration come after, and stay as they are."""
    sure = np.clip(np.nan_to_num(targets, nan=0.5).astype(np.float64), 1.0 - _SURE, _SURE)
    logits = np.log(sure / (1.0 - sure))
    return sigmoid((logits - np.asarray(saved.calibration.shift)) / np.asarray(saved.calibration.scale) - change)


def _tuned(
    member: FusionNetwork,
    batch: FeatureBatch,
    wanted: NDArray[np.float32],
    chances: NDArray[np.float32],
    settings: TuneSettings,
    seed: int,
    stop: Callable[[], bool],
) -> FusionNetwork:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(member).train()
    dense, places, present = tensors(batch)
    targets, drawn = torch.from_numpy(wanted), torch.from_numpy(chances)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    for _ in range(settings.steps):
        if stop():
            raise Stopped("stopped before the candidate was finished; nothing was registered")
        rows = torch.multinomial(drawn, settings.batch_size, replacement=True, generator=generator)
        some = {name: values[rows] for name, values in dense.items()}
        shown = drop_modalities(some, places[rows], present[rows], settings.hidden, generator)
        losses = task_losses(network(*shown), targets[rows], LossConfig())
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
    return network.eval()

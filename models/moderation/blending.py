"""Gradient blending: modalities that overfit are given less of the loss, so that none dominates the training.

Wang, Tran and Feiszli 2020, What Makes Training Multi-Modal Classification Networks Hard?, arXiv 1905.12681. Each
modality alone, and all together, is trained between two checkpoints. O is how much further apart training and held-out
loss are at the end than at the beginning (overfitting), G how much the held-out loss fell (generalisation). The loss of
each is weighted by G / O² , which minimises the overfitting-to-generalisation ratio of the blended gradient when their
gradients are independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.moderation import HARM_CLASSES
from models.moderation.features import MODALITIES, FeatureBatch
from models.moderation.fit import TrainSettings, logits_of, network_config, tensors
from models.moderation.losses import LossConfig, task_losses
from models.moderation.model import FusionNetwork, NetworkConfig

ALL = "all"
_LEAST_OVERFITTING = 1e-3


@dataclass(frozen=True)
class Progress:
    """What a stretch of training did. `overfitting` O and `generalisation` G as above; `ratio` is O / G."""

    overfitting: float
    generalisation: float
    weight: float

    @property
    def ratio(self) -> float:
        """The overfitting-to-generalisation ratio; infinite where nothing was generalised."""
        return self.overfitting / self.generalisation if self.generalisation > 0 else float("inf")


@dataclass(frozen=True)
class BlendSettings:
    """`epochs` of a stretch that is measured, and of the training that is blended."""

    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


class Blended(nn.Module):
    """A fusion network with one more network for each modality by itself; only the fused one is used for scoring."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.fused = FusionNetwork(config)
        self.alone = nn.ModuleDict({name: FusionNetwork(_only(config, name)) for name in config.modalities})

    def forward(self, dense: Mapping[str, Tensor], places: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Return logits by modality, and of all together (`all`)."""
        found = {name: network(dense, places, present) for name, network in self.alone.items()}
        found[ALL] = self.fused(dense, places, present)
        return found


def blend_weights(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    held: NDArray[np.bool_],
    config: NetworkConfig,
    settings: BlendSettings,
) -> dict[str, Progress]:
    """Measure each modality and all together, with `held` rows held out, and weigh them (weights add up to 1)."""
    measured: dict[str, tuple[float, float]] = {}
    for name in (*config.modalities, ALL):
        chosen = config if name == ALL else _only(config, name)
        torch.manual_seed(settings.seed)
        network = FusionNetwork(chosen)
        before = _losses(network, batch, targets, held)
        _train(network, batch.rows(~held), targets[~held], settings)
        after = _losses(network, batch, targets, held)
        overfitting = (after[1] - after[0]) - (before[1] - before[0])
        measured[name] = (max(overfitting, _LEAST_OVERFITTING), max(before[1] - after[1], 0.0))
    raw = {name: generalised / overfit**2 for name, (overfit, generalised) in measured.items()}
    total = sum(raw.values()) or 1.0
    return {name: Progress(*measured[name], raw[name] / total) for name in measured}


def fit_blended(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    weights: Mapping[str, float],
    config: NetworkConfig,
    settings: BlendSettings,
) -> FusionNetwork:
    """Train fused and single networks on one loss, weighted; return the fused one.

    The encoders of the modalities are shared with the single networks, which is how their gradients are blended.
    """
    torch.manual_seed(settings.seed)
    network = Blended(config)
    for name, alone in network.alone.items():
        assert isinstance(alone, FusionNetwork)
        alone.encoders[name] = network.fused.encoders[name]
        alone.places = network.fused.places
    _train(network, batch, targets, settings, weights)
    return network.fused.eval()


def held_out_loss(network: FusionNetwork, batch: FeatureBatch, targets: NDArray[np.float32]) -> float:
    """Return the mean over classes of the cross-entropy."""
    logits = torch.from_numpy(logits_of([network.eval()], batch)).float()
    return float(task_losses(logits, torch.from_numpy(targets), LossConfig()).mean())


def blend_config(widths: Mapping[str, int], modalities: Sequence[str] = MODALITIES) -> NetworkConfig:
    """Return the network whose blending is measured: no dropout of its own, so that overfitting shows."""
    settings = replace(TrainSettings(), dropout=0.0)
    return network_config(widths, settings, modalities=tuple(modalities), outputs=HARM_CLASSES)


def _only(config: NetworkConfig, modality: str) -> NetworkConfig:
    return replace(config, modalities=(modality,))


def _losses(
    network: FusionNetwork, batch: FeatureBatch, targets: NDArray[np.float32], held: NDArray[np.bool_]
) -> tuple[float, float]:
    learned = held_out_loss(network, batch.rows(~held), targets[~held])
    return learned, held_out_loss(network, batch.rows(held), targets[held])


def _train(
    network: nn.Module,
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: BlendSettings,
    weights: Mapping[str, float] | None = None,
) -> None:
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
    dense, places, present = tensors(batch)
    wanted = torch.from_numpy(targets)
    network.train()
    for _ in range(settings.epochs):
        order = torch.randperm(len(batch), generator=generator)
        for start in range(0, len(batch), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            some = {name: values[rows] for name, values in dense.items()}
            out = network(some, places[rows], present[rows])
            named = out if isinstance(out, dict) else {ALL: out}
            losses = [
                (1.0 if weights is None else weights[name]) * task_losses(logits, wanted[rows], LossConfig()).sum()
                for name, logits in named.items()
                if weights is None or weights[name] > 0
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
    network.eval()

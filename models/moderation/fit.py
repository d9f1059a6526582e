"""Fitting fusion networks: mini-batches, modality dropout, masked labels, a loss a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.moderation import HARM_CLASSES
from models.moderation.features import MODALITIES, SIMULATED, FeatureBatch
from models.moderation.losses import LossConfig, effective_number_weights, task_losses
from models.moderation.model import FusionNetwork, NetworkConfig
from models.progress import Report


@dataclass(frozen=True)
class TrainSettings:
    """How networks are fitted.

    `drop_surroundings` is the chance that a post is shown without anything simulated (reactions, author, comments,
    context), `drop_each` that a modality is missing by itself, and `drop_text` that the text is. `members` networks
    are fitted with different seeds; their logits are averaged. `soft` learns the scores as they are, else 0 or 1.
    """

    epochs: int = 24
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    wide_decay: float = 1e-4
    dropout: float = 0.3
    text_hidden: int = 64
    shared: int = 64
    drop_surroundings: float = 0.6
    drop_each: float = 0.2
    drop_text: float = 0.1
    members: int = 4
    soft: bool = True
    text_noise: float = 0.0
    loss: LossConfig = field(default_factory=LossConfig)
    seed: int = 20261122
    threads: int = 2


Weights = Mapping[str, float]


def fit_members(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: TrainSettings,
    config: NetworkConfig,
    *,
    example_weights: NDArray[np.float32] | None = None,
    report: Report = lambda stage, done, total: None,
) -> list[FusionNetwork]:
    """Fit `settings.members` networks; `targets` `(n, outputs)` with NaN where there is no label."""
    members = []
    for number in range(settings.members):
        report("fitting", number, settings.members)
        one = replace(settings, seed=settings.seed + number)
        members.append(fit_network(batch, targets, one, config, example_weights=example_weights))
    report("fitting", settings.members, settings.members)
    return members


def fit_network(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: TrainSettings,
    config: NetworkConfig,
    *,
    example_weights: NDArray[np.float32] | None = None,
) -> FusionNetwork:
    """Fit one network, the same for the same seed, data and threads."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = FusionNetwork(config)
    hard = np.where(np.isfinite(targets), (targets >= 0.5).astype(np.float32), np.nan)
    wanted = torch.from_numpy(np.ascontiguousarray(targets if settings.soft else hard, np.float32))
    balance = torch.from_numpy(effective_number_weights(targets, settings.loss.beta))
    weights = None if example_weights is None else torch.from_numpy(example_weights.astype(np.float32))
    arrays = tensors(batch)
    wide = [network.wide.weight]
    rest = [parameter for name, parameter in network.named_parameters() if not name.startswith("wide")]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "weight_decay": settings.weight_decay},
            {"params": wide, "weight_decay": settings.wide_decay},
        ],
        lr=settings.learning_rate,
    )
    steps = settings.epochs * -(-len(batch) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate * 2, total_steps=steps)
    network.train()
    for _ in range(settings.epochs):
        order = torch.randperm(len(batch), generator=generator)
        for start in range(0, len(batch), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            dense, places, present = (
                {name: values[rows] for name, values in arrays[0].items()},
                arrays[1][rows],
                arrays[2][rows],
            )
            dense, places, present = drop_modalities(dense, places, present, settings, generator)
            logits = network(dense, places, present)
            chosen = None if weights is None else weights[rows]
            losses = task_losses(logits, wanted[rows], settings.loss, balance=balance, weights=chosen)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def drop_modalities(
    dense: Mapping[str, Tensor],
    places: Tensor,
    present: Tensor,
    settings: TrainSettings,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Hide modalities of a batch at random, but never the last one of a post."""
    kept = torch.rand(present.shape, generator=generator) >= settings.drop_each
    text = MODALITIES.index("text")
    kept[:, text] = torch.rand(len(present), generator=generator) >= settings.drop_text
    bare = torch.rand(len(present), generator=generator) < settings.drop_surroundings
    for name in SIMULATED:
        kept[:, MODALITIES.index(name)] &= ~bare
    shown = present * kept
    empty = shown.sum(dim=1) == 0
    shown[empty] = present[empty]
    hidden = {name: values * shown[:, MODALITIES.index(name)].unsqueeze(1) for name, values in dense.items()}
    author = shown[:, MODALITIES.index("author")].long().unsqueeze(1)
    return hidden, places * author, shown


def tensors(batch: FeatureBatch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return a batch as the network's arguments."""
    dense = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.dense.items()}
    return dense, torch.from_numpy(batch.places), torch.from_numpy(batch.present.astype(np.float32))


@torch.no_grad()
def logits_of(members: Sequence[FusionNetwork], batch: FeatureBatch) -> NDArray[np.float64]:
    """Return the mean logits of networks `(n, outputs)`, in their order of outputs."""
    arrays = tensors(batch)
    total: Any = sum(member(*arrays).double().numpy() for member in members)
    mean: NDArray[np.float64] = total / len(members)
    return mean


def network_config(widths: Mapping[str, int], settings: TrainSettings, **changes: Any) -> NetworkConfig:
    """Return the network of these settings; by default the early-fusion multi-task one."""
    config = NetworkConfig(
        widths=dict(widths),
        text_hidden=settings.text_hidden,
        shared=settings.shared,
        dropout=settings.dropout,
        outputs=HARM_CLASSES,
    )
    return replace(config, **changes)

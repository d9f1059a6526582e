"""Fitting fusion networks: mini-batches, modality dropout, masked labels, a loss a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.moderation import HARM_CLASSES
from models.moderation.experts import LIKE
from models.moderation.features import MODALITIES, SIMULATED, WITH_TEXT, FeatureBatch
from models.moderation.losses import LossConfig, effective_number_weights, task_losses
from models.moderation.model import TEXT, FusionNetwork, NetworkConfig
from models.moderation.stacking import Stack, fit_stack
from models.moderation.tempering import Tempering, text_alone
from models.moderation.tempering_fit import fit_tempering


@dataclass(frozen=True)
class TrainSettings:
    """How networks are fitted.

    `drop_surroundings` is the chance that a post is shown without anything simulated (reactions, author, comments,
    context); else, with the chance `shuffle_surroundings`, a post whose text is shown gets those of another post, which
    have nothing to do with it: networks learn to judge by the text where there is one. `drop_each` is the chance that a
    modality is missing by itself, `drop_text` that the text is. `members` networks are fitted with different seeds;
    their logits are averaged. `soft` learns the scores as they are, else 0 or 1. `judged_share` of each batch are texts
    that somebody judged for harm, the rest plain ones and spam. `stacked` networks keep the experts'
    opinions as a logistic regression weighs them (`stacking.py`) and learn what these get wrong; `free` of the members
    weigh opinions by themselves, but for the first: each kind is better at something, and their mean at most.
    `tempered` holds back what they say of texts unlike those they learned from (`tempering.py`).
    """

    steps: int = 1_600
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    input_dropout: float = 0.5
    text_hidden: int = 32
    shared: int = 64
    judged_share: float = 0.7
    drop_surroundings: float = 0.6
    shuffle_surroundings: float = 0.8
    drop_each: float = 0.2
    drop_text: float = 0.1
    members: int = 2
    free: int = 1
    soft: bool = True
    stacked: bool = True
    tempered: bool = True
    loss: LossConfig = field(default_factory=LossConfig)
    seed: int = 20261122
    threads: int = 1


@dataclass(frozen=True)
class FusedNetworks:
    """Networks whose logits are averaged, and how what they say of a text is tempered; None: not at all."""

    members: list[FusionNetwork]
    tempering: Tempering | None

    def logits(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return logits `(n, outputs)` of posts with the experts' opinions beside them."""
        said = logits_of(self.members, batch)
        if self.tempering is None:
            return said
        return said + self.tempering.change(batch.dense["experts"], said, logits_of(self.members, text_alone(batch)))


def fit_fused(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: TrainSettings,
    config: NetworkConfig,
    *,
    parts: NDArray[np.str_],
    experts: Sequence[str],
) -> FusedNetworks:
    """Fit networks (see `fit_members`), and how they are tempered: not where no expert tells what is familiar."""
    members = fit_members(batch, targets, settings, config, parts=parts, experts=experts)
    if not settings.tempered or not any(name.startswith(LIKE) for name in experts):
        return FusedNetworks(members, None)
    chances = drawing_chances(parts, len(batch), settings.judged_share)
    tempering = fit_tempering(batch.dense["experts"], targets, chances, experts, config.outputs, soft=settings.soft)
    return FusedNetworks(members, tempering)


def fit_members(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: TrainSettings,
    config: NetworkConfig,
    *,
    parts: NDArray[np.str_] | None = None,
    experts: Sequence[str] = (),
) -> list[FusionNetwork]:
    """Fit `settings.members` networks with seeds of their own; see `fit_network`. `experts` are the experts' names."""
    stack = None
    if settings.stacked and experts and TEXT in config.modalities:
        chances = drawing_chances(parts, len(batch), settings.judged_share)
        stack = fit_stack(batch.dense["experts"], targets, chances, experts, config.outputs, soft=settings.soft)
    stacked = max(settings.members - settings.free, 1)
    return [
        fit_network(
            batch,
            targets,
            replace(settings, seed=settings.seed + number),
            config,
            parts=parts,
            stack=stack if number < stacked else None,
        )
        for number in range(settings.members)
    ]


def fit_network(
    batch: FeatureBatch,
    targets: NDArray[np.float32],
    settings: TrainSettings,
    config: NetworkConfig,
    *,
    parts: NDArray[np.str_] | None = None,
    stack: Stack | None = None,
) -> FusionNetwork:
    """Fit one network, the same for the same seed and data.

    `targets` `(n, outputs)` are NaN where there is no label; `parts` `(n,)` name the judged part of each text, '' for
    plain ones and spam; `stack` is what to begin with.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = FusionNetwork(config)
    if stack is not None:
        network.start_from(torch.from_numpy(stack.weight))
    hard = np.where(np.isfinite(targets), (targets >= 0.5).astype(np.float32), np.nan)
    wanted = torch.from_numpy(np.ascontiguousarray(targets if settings.soft else hard, np.float32))
    balance = torch.from_numpy(effective_number_weights(targets, settings.loss.beta))
    chances = torch.from_numpy(drawing_chances(parts, len(batch), settings.judged_share))
    all_dense, all_places, all_present = tensors(batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate * 2, total_steps=settings.steps)
    network.train()
    for _ in range(settings.steps):
        rows = torch.multinomial(chances, settings.batch_size, replacement=True, generator=generator)
        some = {name: values[rows] for name, values in all_dense.items()}
        dense, places, present = drop_modalities(some, all_places[rows], all_present[rows], settings, generator)
        losses = task_losses(network(dense, places, present), wanted[rows], settings.loss, balance=balance)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def drawing_chances(parts: NDArray[np.str_] | None, count: int, share: float) -> NDArray[np.float32]:
    """Return how likely each row is drawn: `share` of the draws are judged ones."""
    judged = np.zeros(count, bool) if parts is None else parts != ""
    if judged.all() or not judged.any():
        return np.full(count, 1.0 / count, np.float32)
    chances = np.where(judged, share / judged.sum(), (1.0 - share) / (~judged).sum())
    return chances.astype(np.float32)


def drop_modalities(
    dense: Mapping[str, Tensor],
    places: Tensor,
    present: Tensor,
    settings: TrainSettings,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Hide modalities of a batch at random, but never the last one of a post; exchange surroundings between posts."""
    text = MODALITIES.index("text")
    kept = torch.rand(present.shape, generator=generator) >= settings.drop_each
    kept[:, text] = torch.rand(len(present), generator=generator) >= settings.drop_text
    seen = (present[:, text] > 0) & kept[:, text]
    exchanged = seen & (torch.rand(len(present), generator=generator) < settings.shuffle_surroundings)
    dense, places, present = _exchanged(dense, places, present, exchanged)
    bare = torch.rand(len(present), generator=generator) < settings.drop_surroundings
    for name in SIMULATED:
        kept[:, MODALITIES.index(name)] &= ~bare
    shown = present * kept
    empty = shown.sum(dim=1) == 0
    shown[empty] = present[empty]
    hidden = {
        name: values * shown[:, MODALITIES.index("text" if name in WITH_TEXT else name)].unsqueeze(1)
        for name, values in dense.items()
    }
    author = shown[:, MODALITIES.index("author")].long().unsqueeze(1)
    return hidden, places * author, shown


def _exchanged(
    dense: Mapping[str, Tensor], places: Tensor, present: Tensor, chosen: Tensor
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Give the chosen posts the surroundings of the post before them in the batch."""
    own = torch.arange(len(present))
    taken = torch.where(chosen, own.roll(1), own)
    columns = [MODALITIES.index(name) for name in SIMULATED]
    present = present.clone()
    present[:, columns] = present[taken][:, columns]
    return (
        {name: values[taken] if name in SIMULATED else values for name, values in dense.items()},
        places[taken],
        present,
    )


def tensors(batch: FeatureBatch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return a batch as the network's arguments; hashed words are for the experts alone."""
    dense = {
        name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.dense.items() if name != "words"
    }
    return dense, torch.from_numpy(batch.places), torch.from_numpy(batch.present.astype(np.float32))


@torch.no_grad()
def logits_of(members: Sequence[FusionNetwork], batch: FeatureBatch) -> NDArray[np.float64]:
    """Return the mean logits of networks `(n, outputs)`, in their order of outputs."""
    arrays = tensors(batch)
    total: Any = sum(member(*arrays).double().numpy() for member in members)
    mean: NDArray[np.float64] = total / len(members)
    return mean


def network_config(
    widths: Mapping[str, int], settings: TrainSettings, experts: int = 0, **changes: Any
) -> NetworkConfig:
    """Return the network of these settings; by default the early-fusion multi-task one."""
    config = NetworkConfig(
        widths=dict(widths),
        text_hidden=settings.text_hidden,
        shared=settings.shared,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        experts=experts,
        outputs=HARM_CLASSES,
    )
    return replace(config, **changes)

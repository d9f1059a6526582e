"""The training loop: starts from pretrained weights, changes the last blocks, and keeps what they knew before.

Three steps. (1) The last blocks are trained with a linear projection on top. (2) That projection is thrown away, as in
SimCLR: it fits the training drawings and forgets what tells other pictures apart. The blocks are averaged with their
pretrained selves (https://arxiv.org/abs/2109.01903), which keeps most of the gain and most of the knowledge. (3) A new
projection is fitted without labels: the principal components of the training images' features, half whitened.

What the frozen blocks make of each image is computed once, for several augmented views, and kept in memory (half
precision); an epoch then costs only the tunable blocks. On two cores this is the difference between minutes and hours.
"""

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.errors import InvalidInput
from models.visual_search.checkpoint import RunState, load_checkpoint, save_checkpoint
from models.visual_search.data import Pair, TrainingData
from models.visual_search.loss import contrastive_loss
from models.visual_search.model import FEATURES, LiteConfig, LiteNetwork, pretrained_network
from models.visual_search.views import Report, frozen_views

_CHUNK = 32


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The defaults made the weights that ship with the code.

    `views` augmented views are made of each image, once; `augment_share` of the positive pairs are two views of one
    image instead of two styles. `patience` is in epochs without a better validation MRR. `blend` is the share of the
    tuned blocks in the average with the pretrained ones: 1 is best on pictures like those trained on, less is better on
    others.
    """

    dim: int = 256
    input_px: int = 160
    tune_blocks: int = 5
    views: int = 4
    augment_share: float = 0.15
    epochs: int = 10
    batch_size: int = 160
    learning_rate: float = 6e-4
    head_rate_factor: float = 5.0
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    temperature: float = 0.05
    patience: int = 4
    blend: float = 0.65
    seed: int = 20261122
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("views", "epochs", "patience", "threads"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise InvalidInput(f"batch_size must be at least 2 (the others are the negatives), got {self.batch_size}")
        for name in ("learning_rate", "head_rate_factor", "temperature"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.augment_share <= 1 or not 0 <= self.blend <= 1 or not 0 <= self.warmup_share < 1:
            raise InvalidInput("augment_share, blend and warmup_share are shares between 0 and 1")

    @property
    def network(self) -> LiteConfig:
        return LiteConfig(dim=self.dim, input_px=self.input_px, tune_blocks=self.tune_blocks)


@dataclass(frozen=True)
class Fitted:
    """A trained network and how it got there. MRRs are on the validation pairs."""

    network: LiteNetwork
    history: list[dict[str, float]]
    best_epoch: int
    start_mrr: float  # pretrained blocks under the label-free projection: where training began
    final_mrr: float  # averaged blocks under the label-free projection: what was saved


def fit(
    data: TrainingData,
    settings: TrainSettings,
    folder: Path,
    *,
    resume: bool = False,
    report: Report = lambda stage, done, total: None,
    stop_after_epoch: int | None = None,
) -> Fitted:
    """Train, validating after every epoch, and keep a checkpoint in `folder`.

    With `resume`, an interrupted run goes on where its checkpoint is and ends with the same weights as one that was
    never interrupted. `stop_after_epoch` interrupts a run on purpose (epochs count from 1).

    Raises:
        IntegrityError: the checkpoint to resume from belongs to other settings or data.
        UndecodableMedia: naming a training image that cannot be read.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    fingerprint = hashlib.sha256(f"{asdict(settings)}{data.digest}".encode()).hexdigest()
    saved = load_checkpoint(folder, fingerprint) if resume else None
    network = pretrained_network(settings.network)
    tunable = network.tunable()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in tunable)
    views = frozen_views(
        network,
        data.images,
        augmented=settings.views,
        seed=settings.seed,
        report=report,
        cache=folder / "frozen-features.safetensors",
    )
    clean = frozen_views(
        network,
        data.validation_images,
        augmented=0,
        seed=settings.seed,
        report=report,
        cache=folder / "validation-features.safetensors",
    )[0]
    _fit_projection(network, _pooled(network, views[0]), settings.seed)
    start_mrr = _validation_mrr(network, clean, data.validation_pairs)
    pretrained = _copy(tunable)

    optimizer = torch.optim.AdamW(
        [
            {"params": [p for name, p in tunable.items() if name.startswith("project.")]},
            {"params": [p for name, p in tunable.items() if not name.startswith("project.")]},
        ],
        weight_decay=settings.weight_decay,
    )
    state = RunState(0, 0, 0, start_mrr, [], fingerprint)
    best = _copy(tunable)
    if saved is not None:
        state, current, best, optimizer_state = saved
        _set(tunable, current)
        optimizer.load_state_dict(optimizer_state)

    concept_ids = _ids(data.concepts)
    batch_size = min(settings.batch_size, len(data.pairs))
    per_epoch = len(data.pairs) // batch_size
    total = settings.epochs * per_epoch
    while not _finished(state, settings):
        epoch = state.epoch + 1
        started, losses, step = time.perf_counter(), 0.0, state.step
        generator = torch.Generator().manual_seed(settings.seed * 1_000 + epoch)
        order = torch.randperm(len(data.pairs), generator=generator)
        for number in range(per_epoch):
            _set_rates(optimizer, settings, step / total)
            chosen = [data.pairs[int(place)] for place in order[number * batch_size : (number + 1) * batch_size]]
            left, right = _sides(chosen, settings, generator)
            left_points, right_points = network.embed(
                torch.cat([_gather(views, left, generator), _gather(views, right, generator)]).float()
            ).chunk(2)
            loss = contrastive_loss(
                left_points,
                right_points,
                temperature=settings.temperature,
                weights=torch.tensor([pair.weight for pair in chosen]),
                concepts=(concept_ids[left], concept_ids[right]),
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses += loss.item()
            step += 1
            report(f"epoch {epoch} of {settings.epochs}", number + 1, per_epoch)
        mrr = _validation_mrr(network, clean, data.validation_pairs)
        better = mrr > state.best_mrr
        if better:
            best = _copy(tunable)
        entry = {
            "epoch": float(epoch),
            "loss": losses / per_epoch,
            "validation_mrr": mrr,
            "seconds": time.perf_counter() - started,
        }
        state = RunState(
            epoch=epoch,
            step=step,
            best_epoch=epoch if better else state.best_epoch,
            best_mrr=mrr if better else state.best_mrr,
            history=[*state.history, entry],
            fingerprint=fingerprint,
        )
        save_checkpoint(folder, state, _copy(tunable), best, optimizer)
        report(f"epoch {epoch}: loss {entry['loss']:.3f}, validation MRR {mrr:.3f}", per_epoch, per_epoch)
        if epoch == stop_after_epoch:
            break
    _set(tunable, {name: torch.lerp(pretrained[name], best[name], settings.blend) for name in tunable})
    _fit_projection(network, _pooled(network, views[0]), settings.seed)
    return Fitted(
        network=network.requires_grad_(False),
        history=state.history,
        best_epoch=state.best_epoch,
        start_mrr=start_mrr,
        final_mrr=_validation_mrr(network, clean, data.validation_pairs),
    )


def _finished(state: RunState, settings: TrainSettings) -> bool:
    return state.epoch >= settings.epochs or state.epoch - state.best_epoch >= settings.patience


def _set(parameters: dict[str, torch.nn.Parameter], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def _pooled(network: LiteNetwork, activations: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([network.pool(chunk.float()) for chunk in activations.split(_CHUNK)]).clone()


def _fit_projection(network: LiteNetwork, features: Tensor, seed: int) -> None:
    """Set the projection to the principal components of `(N, 1280)` features, half whitened; no labels are used.

    Half whitening divides each component by the square root of its deviation: full whitening would make noise as loud
    as what matters, none would let two or three components decide.
    """
    mean = features.mean(0)
    _, singular, components = torch.linalg.svd(features - mean, full_matrices=False)
    rank = min(network.config.dim, int((singular > singular[0] * 1e-4).sum()))
    deviation = singular[:rank] / math.sqrt(max(1, len(features) - 1))
    weight = torch.randn(network.config.dim, FEATURES, generator=torch.Generator().manual_seed(seed)) * 1e-3
    weight[:rank] = components[:rank] / deviation[:, None].sqrt()
    scale = 1.0 / float(((features - mean) @ weight.T).norm(dim=1).mean())
    with torch.no_grad():
        network.project.weight.copy_(weight * scale)
        network.project.bias.copy_(-(weight * scale) @ mean)


def _validation_mrr(network: LiteNetwork, activations: Tensor, pairs: tuple[Pair, ...]) -> float:
    """Return the mean reciprocal rank of each pair's other image among all others, both ways, without augmentation."""
    with torch.inference_mode():
        points = torch.cat([network.embed(chunk.float()) for chunk in activations.split(_CHUNK)])
    left, right = torch.tensor([pair.left for pair in pairs]), torch.tensor([pair.right for pair in pairs])
    total = 0.0
    for queries, answers in ((left, right), (right, left)):
        scores = points[queries] @ points[answers].T
        ranks = 1 + (scores > scores.diagonal()[:, None]).sum(1)
        total += float((1.0 / ranks).mean())
    return total / 2


def _sides(chosen: list[Pair], settings: TrainSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the images of each side: either order, and for some pairs one image on both sides (two views of it)."""
    sides = torch.tensor([[pair.left, pair.right] for pair in chosen])
    swap = torch.rand(len(chosen), generator=generator) < 0.5
    sides[swap] = sides[swap].flip(1)
    alone = torch.rand(len(chosen), generator=generator) < settings.augment_share
    sides[alone, 1] = sides[alone, 0]
    return sides[:, 0], sides[:, 1]


def _gather(views: list[Tensor], images: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(len(views), (len(images),), generator=generator)
    return torch.stack([views[int(view)][int(image)] for view, image in zip(chosen, images, strict=True)])


def _set_rates(optimizer: torch.optim.Optimizer, settings: TrainSettings, progress: float) -> None:
    """Warm up linearly, then follow a cosine to zero; `progress` is the share of all steps that are done."""
    if progress < settings.warmup_share:
        factor = (progress + 1e-3) / settings.warmup_share
    else:
        factor = (1 + math.cos(math.pi * (progress - settings.warmup_share) / (1 - settings.warmup_share))) / 2
    head, blocks = optimizer.param_groups
    head["lr"] = settings.learning_rate * settings.head_rate_factor * factor
    blocks["lr"] = settings.learning_rate * factor


def _copy(parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in parameters.items()}


def _ids(concepts: tuple[str, ...]) -> Tensor:
    numbers = {concept: number for number, concept in enumerate(dict.fromkeys(concepts))}
    return torch.tensor([numbers[concept] for concept in concepts])

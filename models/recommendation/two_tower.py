"""Two-tower retrieval: sampled softmax over in-batch, random and disliked negatives, with log-Q correction."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.recommendation.feedback import PAD, Feedback, Users, users_of
from models.recommendation.labels import log_q
from models.recommendation.recommender import Report, Scores, fitted, silent
from models.recommendation.towers import TowerConfig, TwoTowerNetwork
from models.training.lesson import ALONE, Place, Recipe, Trainer
from models.training.loop import train_here

_NEVER = -1e9


class TwoTower:
    """Users by their recent history (and features), items by id (and features). Also embeds what training never saw."""

    name = "two-tower"

    def __init__(self, config: TowerConfig | None = None) -> None:
        self.config = config or TowerConfig()
        self.network: TwoTowerNetwork | None = None
        self.trainer: Trainer = train_here

    def fit(self, feedback: Feedback, report: Report = silent) -> None:
        torch.manual_seed(self.config.seed)
        self.network = self._build(feedback.item_features(), feedback.user_features().shape[1])
        self._train(feedback, self.config.epochs, report)

    def fine_tune(
        self,
        feedback: Feedback,
        *,
        epochs: int = 2,
        taught: NDArray[np.bool_] | None = None,
        learning_rate: float | None = None,
        report: Report = silent,
    ) -> None:
        """Go on learning from more feedback over the same vocabularies, from the weights there are.

        Args:
            taught: rows of the feedback to learn to predict; the others are only the histories before them. All
                relevant ones unless given.
            learning_rate: instead of the configured one.
        """
        self._train(feedback, epochs, report, taught=taught, learning_rate=learning_rate)

    def _build(self, item_features: NDArray[np.float32], n_user_features: int) -> TwoTowerNetwork:
        if not self.config.features:
            item_features, n_user_features = item_features[:, :0], 0
        return TwoTowerNetwork(torch.from_numpy(np.ascontiguousarray(item_features)), n_user_features, self.config)

    def _train(
        self,
        feedback: Feedback,
        epochs: int,
        report: Report,
        *,
        taught: NDArray[np.bool_] | None = None,
        learning_rate: float | None = None,
    ) -> None:
        config = self.config
        drawn = feedback if taught is None else feedback.rows(taught)  # what in-batch negatives are drawn from
        recipe = Recipe(
            epochs=epochs,
            learning_rate=config.learning_rate if learning_rate is None else learning_rate,
            weight_decay=config.weight_decay,
            warm_up=0.1,
            seed=config.seed,
        )
        correction = torch.from_numpy(log_q(drawn.item_counts())) * config.log_q
        every = list(training_batches(feedback, config, taught))
        self.trainer(TowerLesson(self.name, self._network(), recipe, every, correction), report)

    def _network(self) -> TwoTowerNetwork:
        fitted(None if self.network is None else np.empty(0), self.name)
        assert self.network is not None
        return self.network

    def item_vectors(self) -> NDArray[np.float32]:
        """Return `(items, D)` of length 1, float32."""
        network = self._network()
        with torch.inference_mode():
            return network.embed_all().numpy()

    def new_item_vectors(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `(n, D)` for items that training never saw, by their features."""
        with torch.inference_mode():
            return self._network().items.embed_new(torch.from_numpy(features)).numpy()

    def user_vectors(self, users: Users) -> NDArray[np.float32]:
        """Return `(B, D)` of length 1, float32."""
        network = self._network()
        rows = [np.empty((0, self.config.dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(users), 256):
                part = users.part(slice(start, start + 256))
                history = torch.from_numpy(part.recent(self.config.length).astype(np.int64))
                states = network.states(history, self._features(part.features))
                empty = (history < 0).all(dim=1, keepdim=True)
                rows.append(torch.where(empty, states[:, 0], states[:, -1]).numpy())
        return np.concatenate(rows)

    def _features(self, features: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(features if self.config.features else features[:, :0])

    def score(self, users: Users) -> Scores:
        return self.user_vectors(users) @ self.item_vectors().T

    def state(self) -> dict[str, NDArray]:
        network = self._network()
        arrays = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
        return {**arrays, "item_features": network.items.features.numpy()}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        project = weights.get("user.project.weight")
        self.network = self._build(state["item_features"], 0 if project is None else project.shape[1])
        self.network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
        self.network.eval()


class IdTwoTower(TwoTower):
    """The same by ids alone: collaborative filtering, as in the chapter's figure 6.22."""

    name = "two-tower-id"

    def __init__(self, config: TowerConfig | None = None) -> None:
        super().__init__(replace(config or TowerConfig(), features=False))


class SequenceTwoTower(TwoTower):
    """The same with a causal transformer over the history (SASRec, Kang and McAuley 2018, arxiv.org/abs/1808.09781)."""

    name = "sequence"

    def __init__(self, config: TowerConfig | None = None) -> None:
        super().__init__(replace(config or TowerConfig(dropout=0.4, epochs=60), history="attention"))


class Batch:
    """Sequences of some users: read `history`, and predict at each place what `target` says came next."""

    def __init__(self, users: Users, length: int, *, features: bool) -> None:
        sequence = users.recent(length + 1).astype(np.int64)
        self.history = torch.from_numpy(np.ascontiguousarray(sequence[:, :-1]))  # (B, T)
        target = torch.from_numpy(sequence)  # (B, T + 1): after `start`, then after each place of the history
        first = (target >= 0).long().argmax(dim=1)  # only the first real item follows the start state
        self.target = torch.where(torch.arange(length + 1)[None] >= first[:, None], target, PAD)
        self.liked = torch.from_numpy(users.history.astype(np.int64))
        self.taught = self.target >= 0  # (B, T + 1): the places to learn to predict
        self.disliked = users.disliked.astype(np.int64)
        self.features = torch.from_numpy(users.features if features else users.features[:, :0])

    def rows(self, rows: NDArray[np.int64]) -> "Batch":
        """Return some of the sequences."""
        part = copy.copy(self)
        for name in ("history", "target", "liked", "taught", "disliked", "features"):
            setattr(part, name, getattr(self, name)[rows])
        return part


@dataclass(frozen=True, eq=False)
class TowerLesson:
    """What the towers are taught: to pick what came next, batch by batch."""

    name: str
    network: TwoTowerNetwork
    recipe: Recipe
    every: list[Batch]
    correction: Tensor  # (items,) of the logits, by log Q

    @property
    def steps(self) -> int:
        return len(self.every)

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        return (self.every[place] for place in rng.permutation(len(self.every)))

    def part(self, batch: Batch, place: Place) -> tuple[Batch, float]:
        if place == ALONE:
            return batch, 1.0
        taught = batch.taught.sum(dim=1).numpy()  # (B,)
        rows = place.rows(len(taught))
        share = float(taught[rows].sum() / taught.sum())
        return batch.rows(rows if share else np.flatnonzero(taught)[:1]), share

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        return batch_loss(self.network, batch, self.correction, rng)


def training_batches(
    feedback: Feedback, config: TowerConfig, taught: NDArray[np.bool_] | None = None
) -> Iterator[Batch]:
    """Yield the feedback as batches of sequences; long histories are cut into windows of `length + 1`.

    With `taught`, a mask of the feedback's rows, only those are predicted, and windows without any are left out.
    """
    relevant = feedback.label > 0
    asked = relevant if taught is None else relevant & taught
    pairs = (
        None
        if taught is None
        else np.unique(feedback.user[asked].astype(np.int64) * feedback.n_items + feedback.item[asked])
    )
    everybody = np.unique(feedback.user[asked])
    users = users_of(feedback, everybody)
    rows, cuts = [], []
    lengths = (users.history != PAD).sum(axis=1)
    for row, count in enumerate(lengths):
        for end in range(int(count), 1 if count > 1 else 0, -config.length):
            rows.append(row)
            cuts.append(int(count) - end)
    order = np.random.default_rng(config.seed).permutation(len(rows))
    for start in range(0, len(order), config.batch_users):
        chosen = order[start : start + config.batch_users]
        part = users.part(np.asarray(rows)[chosen])
        windows = np.full((len(chosen), config.length + 1), PAD, np.int32)
        for place, (history, cut) in enumerate(zip(part.history, np.asarray(cuts)[chosen], strict=True)):
            window = history[: len(history) - cut][-(config.length + 1) :]
            windows[place, len(windows[place]) - len(window) :] = window
        batch = Batch(replace(part, history=windows), config.length, features=config.features)
        batch.liked = torch.from_numpy(part.history.astype(np.int64))
        if pairs is not None:
            named = part.place.astype(np.int64)[:, None] * feedback.n_items + windows
            batch.taught &= torch.from_numpy(np.isin(named, pairs) & (windows != PAD))
            if not batch.taught.any():
                continue
        yield batch


def batch_loss(network: TwoTowerNetwork, batch: Batch, correction: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the mean cross-entropy of picking each next item among negatives.

    In-batch negatives come as often as they are liked: their logits are corrected by log Q. Random ones are drawn
    evenly; both together stand for the mixture of the two (Yang et al. 2020, doi.org/10.1145/3366424.3386195).
    """
    config, device = network.config, network.device
    rows, places = (index.to(device) for index in torch.nonzero(batch.taught, as_tuple=True))
    correction, targets, liked = (one.to(device) for one in (correction, batch.target, batch.liked))
    states = network.states(batch.history.to(device), batch.features.to(device))
    # State t predicts target t; the start state stands before the first real item only.
    aligned = _aligned(states, targets)
    target = targets[rows, places]
    queries = aligned[rows, places]
    n_items = len(correction)
    drawn = rng.choice(len(target), min(config.negatives, len(target)), replace=False)
    in_batch = target[torch.from_numpy(drawn).to(device)]
    random = torch.from_numpy(rng.integers(0, n_items, config.random_negatives)).to(device)
    candidates = torch.cat([in_batch, random])
    even = torch.full((n_items,), -float(np.log(n_items)), device=device) * config.log_q
    share = len(in_batch) / len(candidates)
    mixed = torch.log(share * correction.exp() + (1 - share) * even.exp()) if config.log_q else correction * 0
    logits = queries @ network.items(candidates).T / config.temperature - mixed[candidates]
    known = torch.zeros(len(liked), n_items + 1, dtype=torch.bool, device=device)
    known.scatter_(1, liked + 1, True)
    logits = logits.masked_fill(known[:, candidates + 1][rows], _NEVER)  # what the user likes is no negative
    own = (queries * network.items(target)).sum(dim=1, keepdim=True) / config.temperature - mixed[target].unsqueeze(1)
    columns = [own, logits]
    if config.explicit_negatives and (batch.disliked >= 0).any():
        counts = (batch.disliked >= 0).sum(axis=1, keepdims=True)
        picked = rng.integers(0, np.maximum(counts, 1), (len(counts), config.explicit_negatives))
        hard = np.take_along_axis(batch.disliked, batch.disliked.shape[1] - 1 - picked, axis=1)
        disliked = torch.from_numpy(hard).to(device)
        score = (queries.unsqueeze(1) * network.items(disliked)[rows]).sum(dim=2) / config.temperature
        columns.append((score - mixed[disliked.clamp(min=0)][rows]).masked_fill((disliked < 0)[rows], _NEVER))
    every = torch.cat(columns, dim=1)
    return functional.cross_entropy(every, torch.zeros(len(every), dtype=torch.long, device=device))


def _aligned(states: Tensor, targets: Tensor) -> Tensor:
    """Return for each place the state before it `(B, T + 1, D)`: the start state before a user's first item."""
    before_first = torch.zeros_like(targets, dtype=torch.bool)
    first = (targets >= 0).long().argmax(dim=1)
    before_first[torch.arange(len(first), device=first.device), first] = True
    return torch.where(before_first.unsqueeze(-1), states[:, :1], states)

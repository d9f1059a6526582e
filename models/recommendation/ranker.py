"""The heavier model that scores candidates: generators' evidence, both tables, and attention over the history.

Three tasks share one body: is the item opened (click), how much of it is taken in (watch), is it relevant (like).
The wide part sees the generators' evidence alone, the deep part all (Cheng et al. 2016, arxiv.org/abs/1606.07792);
the history is weighted by how it relates to the candidate (Zhou et al. 2018, arxiv.org/abs/1706.06978).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.errors import InvalidInput
from models.recommendation.candidates import Candidates
from models.recommendation.feedback import PAD, Users
from models.recommendation.recommender import Report, fitted, silent
from models.training.lesson import Place, Recipe, Trainer
from models.training.loop import train_here

TASKS = ("click", "watch", "like")


@dataclass(frozen=True)
class RankerConfig:
    """Shape and training. `task_weight` is how much the three tasks count beside picking the right candidate."""

    hidden: int = 64
    attention: int = 32
    length: int = 20
    dropout: float = 0.5
    epochs: int = 12
    batch_users: int = 64
    sampled: int = 100  # candidates of each user in a step; what was relevant is always among them
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    task_weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Examples:
    """What a ranker learns from: users, their candidates, and what became of each `(B, C)`."""

    users: Users
    candidates: Candidates
    clicked: NDArray[np.float32]
    watched: NDArray[np.float32]  # 0 to 1
    liked: NDArray[np.float32]


class RankerNetwork(nn.Module):
    """Scores `(B, C)` candidates. `items` `(n, D)` are fixed vectors and features of items, by which they are known."""

    items: Tensor

    def __init__(self, items: Tensor, n_evidence: int, n_user_features: int, config: RankerConfig) -> None:
        super().__init__()
        self.register_buffer("items", items, persistent=False)
        width = items.shape[1]
        self.query, self.key = nn.Linear(width, config.attention), nn.Linear(width, config.attention)
        self.recency = nn.Parameter(-torch.arange(config.length, dtype=torch.float32).flip(0) / 10)
        deep = n_evidence + 3 * width + n_user_features + 3
        self.deep = deep
        self.body = nn.Sequential(
            nn.LayerNorm(deep),
            nn.Linear(deep, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.tasks = nn.Linear(config.hidden, len(TASKS))
        self.wide = nn.Linear(n_evidence, len(TASKS), bias=False)
        self.pick = nn.Linear(config.hidden, 1)
        self.pick_wide = nn.Linear(n_evidence, 1, bias=False)
        # Before it has learned anything, the ranker is the mean of the generators.
        nn.init.zeros_(self.pick.weight)
        nn.init.constant_(self.pick_wide.weight, 1.0)

    def forward(
        self, history: Tensor, disliked: Tensor, features: Tensor, candidates: Tensor, evidence: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the picking score `(B, C)` and the tasks' logits `(B, C, 3)`; places of -1 are padding."""
        items = self.items
        candidate, past = items[candidates.clamp(min=0)], items[history.clamp(min=0)]
        match = self.query(candidate) @ self.key(past).transpose(1, 2) / self.query.out_features**0.5
        match = (match + self.recency).masked_fill((history < 0).unsqueeze(1), -1e9)
        read = match.softmax(dim=2) * (history >= 0).any(dim=1)[:, None, None]
        interest = read @ past  # (B, C, D): what of the history speaks for this candidate
        unit = functional.normalize(candidate, dim=2)
        liking = unit @ functional.normalize(past, dim=2).transpose(1, 2) * (history >= 0).unsqueeze(1)
        against = unit @ functional.normalize(items[disliked.clamp(min=0)], dim=2).transpose(1, 2)
        against = against * (disliked >= 0).unsqueeze(1)
        likeness = torch.stack([liking.amax(2), liking.mean(2), against.amax(2)], dim=2)
        who = features.unsqueeze(1).expand(-1, candidate.shape[1], -1)
        deep = torch.cat([evidence, candidate, interest, candidate * interest, who, likeness], dim=2)
        hidden = self.body(deep)
        return (self.pick(hidden) + self.pick_wide(evidence)).squeeze(2), self.tasks(hidden) + self.wide(evidence)


@dataclass(frozen=True, eq=False)
class RankerLesson:
    """What a ranker is taught: to pick what turned out relevant among the candidates, and what became of each."""

    name: str
    network: RankerNetwork
    recipe: Recipe
    config: RankerConfig
    examples: Examples

    @property
    def steps(self) -> int:
        return -(-len(self.examples.users) // self.config.batch_users)

    def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        order = rng.permutation(len(self.examples.users))
        return (
            order[start : start + self.config.batch_users] for start in range(0, len(order), self.config.batch_users)
        )

    def part(self, batch: NDArray[np.int64], place: Place) -> tuple[NDArray[np.int64], float]:
        rows = batch[place.rows(len(batch))]
        return (rows, len(rows) / len(batch)) if len(rows) else (batch[:1], 0.0)

    def loss(self, batch: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        examples, device = self.examples, self.network.items.device
        items, places = self._sample(batch, rng)
        across = batch[:, None]
        evidence = examples.candidates.evidence[across, places]
        pick, tasks = _scored(self.network, examples.users.part(batch), items, evidence, self.config.length)
        happened = [each[across, places] for each in (examples.clicked, examples.watched, examples.liked)]
        real = items != PAD
        answered = torch.from_numpy((happened[2].sum(axis=1) > 0) & real.any(axis=1))
        present, liked = torch.from_numpy(real).to(device), torch.from_numpy(happened[2]).to(device)
        log_chance = pick.masked_fill(~present, -1e9).log_softmax(dim=1)
        picked = -(log_chance * liked).sum(dim=1) / liked.sum(dim=1).clamp(min=1)
        outcomes = torch.stack([torch.from_numpy(each).to(device) for each in happened], 2)
        each = functional.binary_cross_entropy_with_logits(tasks, outcomes, reduction="none").sum(2)
        listwise = picked[answered.to(device)].mean() if answered.any() else pick.sum() * 0
        return listwise + self.config.task_weight * each[present].mean()

    def _sample(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Draw candidates for a step: all relevant ones, then some of the others; return them and their places."""
        items = self.examples.candidates.items[rows]
        drawn = rng.random(items.shape)
        drawn[self.examples.liked[rows] > 0] += 2.0
        drawn[items == PAD] = -1.0
        places = np.argsort(-drawn, axis=1)[:, : self.config.sampled]
        return np.take_along_axis(items, places, axis=1), places


def _scored(
    network: RankerNetwork, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32], length: int
) -> tuple[Tensor, Tensor]:
    """Return what the network says of candidates `(B, C)`, having read `length` items of the histories."""
    arrays = (
        users.recent(length).astype(np.int64),
        users.disliked[:, -length:].astype(np.int64),
        np.nan_to_num(users.features),
        items.astype(np.int64),
        np.nan_to_num(evidence),
    )
    result: tuple[Tensor, Tensor] = network(*(torch.from_numpy(array).to(network.items.device) for array in arrays))
    return result


class Ranker:
    """Scores candidates for users. `rank` is for ordering; `tasks` are probabilities, for a score of several aims."""

    name = "ranker"

    def __init__(self, config: RankerConfig | None = None) -> None:
        self.config = config or RankerConfig()
        self.network: RankerNetwork | None = None
        self.trainer: Trainer = train_here
        self._items: NDArray[np.float32] | None = None

    def fit(self, examples: Examples, items: NDArray[np.float32], report: Report = silent) -> None:
        """Learn from examples; `items` `(n, D)` are fixed vectors and features, kept with the weights."""
        torch.manual_seed(self.config.seed)
        self._items = np.asarray(items, np.float32)
        sizes = (examples.candidates.evidence.shape[2], examples.users.features.shape[1])
        self.network = RankerNetwork(torch.from_numpy(self._items), *sizes, self.config)
        self._train(examples, self.config.epochs, self.config.learning_rate, report)

    def fine_tune(
        self, examples: Examples, *, epochs: int = 2, learning_rate: float = 5e-4, report: Report = silent
    ) -> None:
        """Go on learning from more examples, from the weights there are.

        Raises:
            InvalidInput: it was not fitted, or the examples' evidence or features are of another width.
        """
        fitted(self._items, self.name)
        assert self.network is not None
        sizes = (examples.candidates.evidence.shape[2], examples.users.features.shape[1])
        if sizes != (self.network.wide.in_features, self._n_user_features()):
            raise InvalidInput(
                f"the ranker learned from evidence and user features of widths {self.network.wide.in_features} and "
                f"{self._n_user_features()}; these are of {sizes[0]} and {sizes[1]}"
            )
        torch.manual_seed(self.config.seed)
        self._train(examples, epochs, learning_rate, report)

    def _n_user_features(self) -> int:
        assert self.network is not None and self._items is not None
        return self.network.deep - self.network.wide.in_features - 3 * self._items.shape[1] - 3

    def _train(self, examples: Examples, epochs: int, learning_rate: float, report: Report) -> None:
        assert self.network is not None
        recipe = Recipe(epochs, learning_rate, self.config.weight_decay, seed=self.config.seed)
        self.trainer(RankerLesson(self.name, self.network, recipe, self.config, examples), report)

    def rank(self, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores `(B, C)` for candidates `(B, C)` with evidence `(B, C, E)`; padding gets -inf."""
        return self._infer(users, items, evidence)[0]

    def tasks(self, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the chance of a click, the fraction watched and the chance of relevance `(B, C, 3)`, of candidates."""
        return self._infer(users, items, evidence)[1]

    def score_all(
        self, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return `rank` and `tasks` in one pass."""
        return self._infer(users, items, evidence)

    def _infer(self, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
        if len(users) != len(items) or evidence.shape[:2] != items.shape:
            raise InvalidInput(f"{len(users)} users, candidates of shape {items.shape}, evidence of {evidence.shape}")
        picks = [np.empty((0, items.shape[1]), np.float32)]
        tasks = [np.empty((0, items.shape[1], len(TASKS)), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(users), 128):
                span = slice(start, start + 128)
                pick, logits = self._forward(users.part(span), items[span], evidence[span])
                picks.append(pick.masked_fill(torch.from_numpy(items[span] == PAD), -torch.inf).numpy())
                tasks.append(logits.sigmoid().numpy())
        return np.concatenate(picks), np.concatenate(tasks)

    def _forward(self, users: Users, items: NDArray[np.int32], evidence: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        fitted(self._items, self.name)
        assert self.network is not None
        return _scored(self.network, users, items, evidence, self.config.length)

    def state(self) -> dict[str, NDArray]:
        items = fitted(self._items, self.name)
        assert self.network is not None
        weights = {f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        sizes = (self.network.wide.in_features, self.network.deep)
        return {**weights, "items": items, "sizes": np.asarray(sizes, np.int64)}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        self._items = state["items"]
        n_evidence, deep = (int(size) for size in state["sizes"])
        n_user_features = deep - n_evidence - 3 * self._items.shape[1] - 3
        self.network = RankerNetwork(torch.from_numpy(self._items.copy()), n_evidence, n_user_features, self.config)
        weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        self.network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
        self.network.eval()


def outcomes(liked: Any, clicked: Any, watched: Any, items: NDArray[np.int32]) -> tuple[NDArray[np.float32], ...]:
    """Pick each candidate's outcomes out of matrices `(B, I)` of what happened (dense or sparse)."""
    rows = np.arange(len(items))[:, None]
    picked = []
    for matrix in (liked, clicked, watched):
        dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
        picked.append(np.where(items == PAD, 0.0, dense[rows, np.maximum(items, 0)]).astype(np.float32))
    return tuple(picked)

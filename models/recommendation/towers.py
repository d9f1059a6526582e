"""The two towers: items and users in one space, where the dot product is the score."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import InvalidInput


@dataclass(frozen=True)
class TowerConfig:
    """Shape and training of a two-tower network.

    `history` is what reads a user's recent items: `mean` (learned weights by recency, as the chapter averages them) or
    `attention` (a causal transformer, so their order counts). With `features` both towers see the tables, too;
    without, it is collaborative filtering by ids alone.
    """

    dim: int = 64
    history: Literal["mean", "attention"] = "mean"
    features: bool = True
    length: int = 50  # items of the history that are read
    layers: int = 2  # of attention
    heads: int = 2
    dropout: float = 0.3
    temperature: float = 0.1
    epochs: int = 20
    batch_users: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    negatives: int = 256  # in-batch positives of others taken as negatives
    random_negatives: int = 128  # drawn evenly from all items: in-batch ones are never new or unpopular
    explicit_negatives: int = 4  # disliked items of the user
    log_q: float = 1.0  # strength of the log-Q correction
    id_dropout: float = 0.1  # share of items shown by their features alone, so that new ones can be embedded
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise InvalidInput(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        if min(self.dim, self.length, self.epochs, self.batch_users, self.negatives) < 1 or not self.temperature > 0:
            raise InvalidInput("dim, length, epochs, batch_users, negatives and temperature must be above 0")


class ItemTower(nn.Module):
    """An item's id embedding plus a projection of its features, scaled to length 1."""

    features: Tensor

    def __init__(self, n_items: int, features: Tensor, config: TowerConfig) -> None:
        super().__init__()
        self.ids = nn.Embedding(n_items + 1, config.dim, padding_idx=0)  # row 0 pads; item i is row i + 1
        nn.init.normal_(self.ids.weight[1:], std=config.dim**-0.5)
        self.register_buffer("features", features, persistent=False)  # (n_items, F)
        width = features.shape[1]
        self.project = nn.Linear(width, config.dim) if width else None
        self._id_dropout = config.id_dropout if width else 0.0

    def forward(self, items: Tensor) -> Tensor:
        """Embed item places `(...)`, -1 for padding, into `(..., D)`; padding is the zero vector."""
        x = self.ids(items + 1)
        if self.project is not None:
            if self.training and self._id_dropout:
                x = x * (torch.rand(items.shape, device=x.device) >= self._id_dropout).unsqueeze(-1)
            x = x + self.project(self.features[items.clamp(min=0)])
        return functional.normalize(x, dim=-1) * (items >= 0).unsqueeze(-1)

    def embed_new(self, features: Tensor) -> Tensor:
        """Embed items that training never saw from their features `(n, F)` into `(n, D)`."""
        if self.project is None:
            raise InvalidInput("this two-tower network knows items by id alone and cannot embed new ones")
        return functional.normalize(self.project(features), dim=-1)


class UserTower(nn.Module):
    """What a user liked until each place of the history, plus who they are, as a vector of length 1."""

    def __init__(self, n_features: int, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        if config.history == "mean":
            self.recency = nn.Parameter(-torch.arange(config.length, dtype=torch.float32) / 10)
            self.encoder = None
        else:
            self.places = nn.Embedding(config.length, config.dim)
            nn.init.normal_(self.places.weight, std=0.02)
            layer = nn.TransformerEncoderLayer(
                config.dim,
                config.heads,
                2 * config.dim,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.start = nn.Parameter(torch.randn(config.dim) * config.dim**-0.5)  # somebody without a history
        self.project = nn.Linear(n_features, config.dim) if n_features else None
        self.out = nn.Sequential(
            nn.Linear(config.dim, 2 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.dim, config.dim),
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, history: Tensor, present: Tensor, features: Tensor) -> Tensor:
        """Return the user's vector after each place of the history.

        Args:
            history: item vectors `(B, T, D)`, the most recent last.
            present: `(B, T)` bool, false for padding.
            features: `(B, F)`.

        Returns:
            `(B, T + 1, D)`: before anything was liked, then after each place.
        """
        x = self.drop(history)
        states = self._mean(x, present) if self.encoder is None else self._attend(x, present)
        start = self.start.expand(len(x), 1, -1)
        states = torch.where(present.any(dim=1)[:, None, None], states, torch.zeros_like(states))
        states = torch.cat([start, states], dim=1)
        if self.project is not None:
            states = states + self.project(features).unsqueeze(1)
        return functional.normalize(states + self.out(states), dim=-1)

    def _mean(self, x: Tensor, present: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], device=x.device)
        back = place[:, None] - place[None, :]  # how far before each place
        weights = self.recency[back.clamp(0, len(self.recency) - 1)].exp() * (back >= 0)
        weights = weights[None] * present[:, None, :]
        return weights @ x / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)

    def _attend(self, x: Tensor, present: Tensor) -> Tensor:
        length = x.shape[1]
        assert self.encoder is not None
        x = x * x.shape[2] ** 0.5 + self.places.weight[-length:]
        place = torch.arange(length, device=x.device)
        later = place[None, :] > place[:, None]
        itself = place[None, :] == place[:, None]
        # A place of padding may see itself, so that no row of attention is empty (its result is never used).
        hidden = later[None] | ~(present[:, None, :] | itself[None])
        mask = hidden.repeat_interleave(self.config.heads, dim=0)
        return self.encoder(x, mask=mask)


class TwoTowerNetwork(nn.Module):
    """Both towers; they share the item embeddings."""

    def __init__(self, item_features: Tensor, n_user_features: int, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.items = ItemTower(len(item_features), item_features, config)
        self.user = UserTower(n_user_features, config)

    @property
    def device(self) -> torch.device:
        return self.items.ids.weight.device

    def embed_all(self) -> Tensor:
        """Return every item's vector `(n_items, D)`."""
        vectors: Tensor = self.items(torch.arange(self.items.ids.num_embeddings - 1, device=self.device))
        return vectors

    def states(self, history: Tensor, features: Tensor) -> Tensor:
        """Return user vectors after each place of the history `(B, T)`: `(B, T + 1, D)`."""
        return self.user(self.items(history), history >= 0, features)

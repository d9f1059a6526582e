"""The multi-task network: modalities are fused early, layers are shared, each class of harm has a head of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core.moderation import HARM_CLASSES
from models.moderation.features import MODALITIES, PLACE_ROWS

Heads = Literal["task", "shared"]
WIDE = "text"  # the modality that also reaches the logits directly, as in a logistic regression


@dataclass(frozen=True)
class NetworkConfig:
    """`hidden` widths of a modality's own layer, `shared` widths of the shared layers, `head` that of a head.

    `heads` `task`: each class has a hidden layer of its own; `shared`: one output layer for all (multi-label).
    `outputs` are the classes that are learned; more than five values come from no configuration.
    """

    widths: Mapping[str, int]
    modalities: tuple[str, ...] = MODALITIES
    text_hidden: int = 64
    side_hidden: int = 16
    shared: int = 64
    head: int = 16
    place_dim: int = 4
    dropout: float = 0.3
    heads: Heads = "task"
    outputs: tuple[str, ...] = HARM_CLASSES

    def hidden_of(self, modality: str) -> int:
        """Width of a modality's own layer."""
        return {"text": self.text_hidden, "comments": self.text_hidden // 2}.get(modality, self.side_hidden)


class FusionNetwork(nn.Module):
    """Arrays of a `FeatureBatch` → logits `(B, outputs)`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.places = nn.Embedding(PLACE_ROWS, config.place_dim)
        self.encoders = nn.ModuleDict()
        for name in config.modalities:
            width = config.widths[name] + (2 * config.place_dim if name == "author" else 0)
            self.encoders[name] = nn.Linear(width, config.hidden_of(name))
        fused = sum(config.hidden_of(name) for name in config.modalities) + len(config.modalities)
        self.first = nn.Linear(fused, config.shared)
        self.second = nn.Linear(config.shared, config.shared)
        self.dropout = nn.Dropout(config.dropout)
        if config.heads == "task":
            self.heads = nn.ModuleDict(
                {
                    name: nn.Sequential(nn.Linear(config.shared, config.head), nn.ReLU(), nn.Linear(config.head, 1))
                    for name in config.outputs
                }
            )
        else:
            self.output = nn.Linear(config.shared, len(config.outputs))
        self.wide = nn.Linear(config.widths[WIDE], len(config.outputs), bias=False)
        nn.init.zeros_(self.wide.weight)
        nn.init.normal_(self.places.weight, std=0.05)

    def forward(self, dense: Mapping[str, Tensor], places: Tensor, present: Tensor) -> Tensor:
        """Return logits. `dense[name]` `(B, width)`, `places` `(B, 2)`, `present` `(B, 6)` float of zeros and ones."""
        parts, known = [], []
        for name in self.config.modalities:
            inputs = dense[name]
            there = present[:, MODALITIES.index(name)].unsqueeze(1)
            if name == "author":
                inputs = torch.cat([inputs, self.places(places).flatten(1)], dim=1)
            parts.append(torch.relu(self.encoders[name](inputs)) * there)
            known.append(there)
        fused = self.dropout(torch.cat(parts + known, dim=1))  # (B, fused)
        hidden = self.dropout(torch.relu(self.first(fused)))  # (B, shared)
        hidden = self.dropout(torch.relu(self.second(hidden)))
        if self.config.heads == "task":
            deep = torch.cat([self.heads[name](hidden) for name in self.config.outputs], dim=1)
        else:
            deep = self.output(hidden)
        direct = self.wide(dense[WIDE]) if WIDE in self.config.modalities else 0.0
        return deep + direct

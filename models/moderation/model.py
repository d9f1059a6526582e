"""The multi-task network: modalities are fused early, layers are shared, each class of harm has a head of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core.moderation import HARM_CLASSES
from models.moderation.features import MODALITIES, PLACE_ROWS

Heads = Literal["task", "shared"]
TEXT = "text"


@dataclass(frozen=True)
class NetworkConfig:
    """`hidden` widths of a modality's own layer, `shared` widths of the shared layers, `head` that of a head.

    `heads` `task`: each class has a hidden layer of its own; `shared`: one output layer for all (multi-label).
    `experts` is the number of opinions on the text, which reach its layer and, directly, the logits. `input_dropout` is
    of the text's own columns.
    """

    widths: Mapping[str, int]
    modalities: tuple[str, ...] = MODALITIES
    text_hidden: int = 64
    side_hidden: int = 16
    shared: int = 64
    head: int = 16
    place_dim: int = 4
    dropout: float = 0.3
    input_dropout: float = 0.5
    experts: int = 0
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
            beside = {"author": 2 * config.place_dim, TEXT: config.experts}.get(name, 0)
            width = config.widths[name] + beside
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
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.wide = nn.Linear(max(config.experts, 1), len(config.outputs), bias=False)
        nn.init.zeros_(self.wide.weight)
        nn.init.normal_(self.places.weight, std=0.05)

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        """Begin with what the stacked experts say, `weight` `(outputs, experts)`, and keep it.

        The last layer of the deep part begins at zero, so that all it learns is what the experts get wrong.
        """
        self.wide.weight.copy_(weight)
        self.wide.weight.requires_grad_(False)
        last = self.heads.values() if self.config.heads == "task" else (self.output,)
        for head in last:
            for parameter in list(head.parameters())[-2:]:  # weight and bias of the last layer
                parameter.zero_()

    def forward(self, dense: Mapping[str, Tensor], places: Tensor, present: Tensor) -> Tensor:
        """Return logits. `dense[name]` `(B, width)`, `places` `(B, 2)`, `present` `(B, 6)` float of zeros and ones.

        Opinions are `dense["experts"]` `(B, experts)`.
        """
        parts, known = [], []
        for name in self.config.modalities:
            inputs = dense[name]
            there = present[:, MODALITIES.index(name)].unsqueeze(1)
            if name == "author":
                inputs = torch.cat([inputs, self.places(places).flatten(1)], dim=1)
            elif name == TEXT:
                inputs = self.input_dropout(inputs)
                if self.config.experts:
                    inputs = torch.cat([inputs, dense["experts"]], dim=1)
            parts.append(torch.relu(self.encoders[name](inputs)) * there)
            known.append(there)
        fused = self.dropout(torch.cat(parts + known, dim=1))  # (B, fused)
        hidden = self.dropout(torch.relu(self.first(fused)))  # (B, shared)
        hidden = self.dropout(torch.relu(self.second(hidden)))
        if self.config.heads == "task":
            deep = torch.cat([self.heads[name](hidden) for name in self.config.outputs], dim=1)
        else:
            deep = self.output(hidden)
        if TEXT in self.config.modalities and self.config.experts:
            return deep + self.wide(dense["experts"])
        return deep

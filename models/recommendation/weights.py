"""Saving a recommender as safetensors and loading it: arrays, settings, the items it knows, and how features are made.

Ids of users are not saved: they are personal, and no saved model needs them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.errors import IntegrityError, InvalidInput
from models.recommendation.content import ContentBased, ContentConfig
from models.recommendation.factorization import FactorizationConfig, SgdFactorization, Wals
from models.recommendation.features import FeatureEncoder, encoder_of
from models.recommendation.feedback import Feedback
from models.recommendation.item_weights import (
    Ease,
    EaseConfig,
    ItemNeighbours,
    NeighboursConfig,
    Transitions,
    TransitionsConfig,
)
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.ranker import Ranker, RankerConfig
from models.recommendation.recommender import Recommender
from models.recommendation.system import FullSystem, SystemConfig
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import IdTwoTower, SequenceTwoTower, TwoTower

_KINDS: Mapping[str, tuple[type, type]] = {
    kind.name: (kind, config)
    for kind, config in (
        (Popularity, PopularityConfig),
        (ItemNeighbours, NeighboursConfig),
        (Ease, EaseConfig),
        (Transitions, TransitionsConfig),
        (ContentBased, ContentConfig),
        (Wals, FactorizationConfig),
        (SgdFactorization, FactorizationConfig),
        (TwoTower, TowerConfig),
        (IdTwoTower, TowerConfig),
        (SequenceTwoTower, TowerConfig),
        (Ranker, RankerConfig),
    )
}
SAVABLE = (*_KINDS, FullSystem.name)
_ITEMS = "vocabulary.items"


@dataclass(frozen=True)
class Saved:
    """A loaded model with what is needed to ask it: its items in the order of its scores, and the encoders."""

    model: Any  # a Recommender, or a Ranker
    items: tuple[str, ...]
    generators: tuple[str, ...]  # of a ranker: whose evidence it learned from, in this order
    item_encoder: FeatureEncoder | None
    user_encoder: FeatureEncoder | None


def save_model(
    model: Recommender | Ranker, feedback: Feedback, path: Path, *, generators: tuple[str, ...] = ()
) -> None:
    """Write a fitted model; `generators` name whose evidence a ranker learned from.

    Raises:
        InvalidInput: this kind of model keeps vectors of users and is not saved.
    """
    if model.name not in SAVABLE:
        raise InvalidInput(
            f"{model.name} cannot be registered: it knows only its training users; use {', '.join(SAVABLE)}"
        )
    described: dict[str, Any] = {"model": model.name, "config": asdict(model.config), "generators": list(generators)}
    if isinstance(model, FullSystem):
        described["parts"] = [{"model": part.name, "config": asdict(part.config)} for part in model.generators]
        described["generators"] = [part.name for part in model.generators]
    for name, table in (("item_encoder", feedback.item_table), ("user_encoder", feedback.user_table)):
        described[name] = table.encoder.as_dict() if table else None
    arrays = {name: np.ascontiguousarray(value) for name, value in model.state().items()}
    arrays[_ITEMS] = np.frombuffer(json.dumps(feedback.items).encode(), np.uint8).copy()
    save_file(arrays, path, metadata={"riverlight": json.dumps(described, sort_keys=True)})


def load_model(path: Path) -> Saved:
    """Read what `save_model` wrote; raises IntegrityError if it is something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            described = json.loads((file.metadata() or {})["riverlight"])
            arrays: dict[str, NDArray] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        items = tuple(json.loads(arrays.pop(_ITEMS).tobytes()))
        model = _build(described)
        model.restore(arrays)
        encoders = [
            encoder_of(plain) if (plain := described[name]) else None for name in ("item_encoder", "user_encoder")
        ]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, InvalidInput, OSError) as error:
        raise IntegrityError(f"{path} does not hold a recommendation model: {error}") from error
    return Saved(model, items, tuple(described["generators"]), *encoders)


def _build(described: Mapping[str, Any]) -> Any:
    if described["model"] == FullSystem.name:
        config = SystemConfig(**{**described["config"], "ranker": RankerConfig(**described["config"]["ranker"])})
        return FullSystem(config, [_build(part) for part in described["parts"]])
    kind, config_kind = _KINDS[described["model"]]
    assert is_dataclass(config_kind)
    known = {field.name for field in fields(config_kind)}
    return kind(config_kind(**{name: value for name, value in described["config"].items() if name in known}))

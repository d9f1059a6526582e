"""A registered system, loaded and checked: its generators, its ranker, and what it knows of items and users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import IntegrityError, InvalidInput
from models.recommendation.candidates import PER_GENERATOR
from models.recommendation.features import FeatureEncoder
from models.recommendation.feedback import PAD, Users
from models.recommendation.ranker import Ranker
from models.recommendation.recommender import Recommender, Scores
from models.recommendation.system import FullSystem
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import Saved, load_model
from models.registry.manifest import WEIGHTS
from models.registry.store import ModelVersion

Score = Callable[[Users], Scores]


@dataclass(frozen=True, eq=False)
class TrainedSystem:
    """A `FullSystem` that answers. Items have numbers, 0 to `n_items` - 1: their places in its vocabulary."""

    version: str  # as answers carry it, such as `recommendation-quick-system/3f2a91c0`
    items: tuple[str, ...]
    number_of: Mapping[str, int]  # item id -> number
    scores: Mapping[str, Score]  # generator, in the order of training -> scores (B, n_items) of users
    ranker: Ranker
    each: int  # videos in a generator's list, as in training
    n_user_features: int
    user_encoder: FeatureEncoder | None
    item_encoder: FeatureEncoder | None
    tower: TwoTower | None  # of its generators, if it has one

    @property
    def n_items(self) -> int:
        return len(self.items)


def load_system(version: ModelVersion) -> TrainedSystem:
    """Load a registered version, whose hash was checked (`ModelRegistry.resolve`), and ask it once.

    Raises:
        IntegrityError: the weights are damaged, or their parts do not fit each other.
        InvalidInput: it is a model of another kind.
    """
    return system_of(load_model(version.folder / WEIGHTS), version.label)


def system_of(saved: Saved, label: str) -> TrainedSystem:
    """Return a loaded model as a system that answers; raises as `load_system`."""
    model = saved.model
    if not isinstance(model, FullSystem):
        raise InvalidInput(
            f"{label} is the model {model.name!r} alone, which cannot answer: register a whole system "
            "(riverlight train recommendation --model quick-system)"
        )
    towers = [part for part in model.generators if isinstance(part, TwoTower)]
    system = TrainedSystem(
        version=label,
        items=saved.items,
        number_of={item_id: number for number, item_id in enumerate(saved.items)},
        scores={part.name: _score_of(part) for part in model.generators},
        ranker=model.ranker,
        each=model.config.each,
        n_user_features=len(saved.user_encoder.columns) if saved.user_encoder is not None else 0,
        user_encoder=saved.user_encoder,
        item_encoder=saved.item_encoder,
        tower=towers[0] if towers else None,
    )
    _try(system)
    return system


def _score_of(part: Recommender) -> Score:
    """Return how a generator scores; the item vectors of those that have some are made once and not every time."""
    embedder: Any = part
    if not (hasattr(part, "item_vectors") and hasattr(part, "user_vectors")):
        return part.score
    vectors = np.array(embedder.item_vectors(), np.float32)
    return lambda users: np.asarray(embedder.user_vectors(users) @ vectors.T, np.float32)


def _try(system: TrainedSystem) -> None:
    """Ask about somebody who liked the first item, so that parts that do not fit show now and not in every answer."""
    one = np.zeros((1, 1), np.int32)
    somebody = Users(
        place=np.full(1, PAD, np.int32),
        history=one,
        disliked=one + PAD,
        features=np.zeros((1, system.n_user_features), np.float32),
        now=np.zeros(1),
    )
    try:
        for name, score in system.scores.items():
            found = score(somebody)
            if found.shape != (1, system.n_items):
                raise ValueError(f"{name} scores {found.shape[-1]} items, the vocabulary has {system.n_items}")
        evidence = np.zeros((1, 1, len(system.scores) * PER_GENERATOR), np.float32)
        system.ranker.score_all(somebody, np.full((1, 1), system.n_items - 1, np.int32), evidence)
    except (ValueError, IndexError, RuntimeError, InvalidInput) as error:
        raise IntegrityError(
            f"the parts of {system.version} do not fit each other: {error}. Train it again, or go back "
            f"(riverlight models rollback {system.version.split('/')[0]})"
        ) from error

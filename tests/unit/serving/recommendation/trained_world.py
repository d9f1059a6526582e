"""A small trained system and a live state that holds the same people and videos."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from core.clock import SystemClock
from core.settings import RecommendationSettings
from models.recommendation.content import ContentBased, ContentConfig
from models.recommendation.factorization import FactorizationConfig, Wals
from models.recommendation.features import table_of_columns
from models.recommendation.feedback import Feedback, users_of
from models.recommendation.item_weights import Ease, EaseConfig, ItemNeighbours, NeighboursConfig, Transitions
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import FullSystem, SystemConfig
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import load_model, save_model
from models.registry.aliases import FileAliasStore
from models.registry.manifest import WEIGHTS, Manifest, file_sha256
from models.registry.store import ModelRegistry
from serving.recommendation.live_state import LiveState
from serving.recommendation.opening import state_of
from serving.recommendation.trained.system import TrainedSystem, system_of
from tests.unit.models.recommendation.tastes import two_tastes
from tests.unit.serving.recommendation import live_events as ev

NAME = "recommendation-quick-system"
LABEL = f"{NAME}/0a1b2c3d"
NEW = tuple(f"new{number}" for number in range(12))  # videos that training never saw
EACH = 5  # of 7 that a user has not liked of their half: beyond it scores tie at 0


@cache
def feedback() -> Feedback:
    plain = two_tastes()
    ages = {"age": [str(20 + place % 7) for place in range(plain.n_users)]}
    genders = {"gender": ["F" if place % 3 else "M" for place in range(plain.n_users)]}
    draw = np.random.default_rng(7)  # words such that no two items are equally alike, which would make ties
    words = [" ".join(f"word{number}" for number in draw.choice(12, 5, replace=False)) for _ in plain.items]
    tags = ["calm" if place % 2 else "loud" for place in range(plain.n_items)]
    return replace(
        plain,
        user_table=table_of_columns(plain.users, ages | genders),
        item_table=table_of_columns(plain.items, {"title": words, "tags": tags}),
    )


@cache
def offline() -> FullSystem:
    config = SystemConfig(
        each=EACH,
        held_out=2,
        tune_epochs=1,
        ranker=RankerConfig(hidden=16, attention=8, epochs=3, batch_users=16, length=5),
    )
    generators = [
        TwoTower(TowerConfig(dim=8, epochs=2, length=6, heads=2)),
        Transitions(),
        Ease(EaseConfig(l2=5, decay=5.0)),
        ItemNeighbours(NeighboursConfig(neighbours=5)),
        Wals(FactorizationConfig(factors=4)),
        ContentBased(ContentConfig(dim=4)),
        Popularity(),
    ]
    system = FullSystem(config, generators)
    system.fit(feedback())
    return system


def saved_in(folder: Path) -> Path:
    """Write the system as `riverlight train recommendation` does and return the file."""
    path = folder / "model.safetensors"
    save_model(offline(), feedback(), path)
    return path


def loaded(folder: Path) -> TrainedSystem:
    return system_of(load_model(saved_in(folder)), LABEL)


def registry_in(folder: Path) -> ModelRegistry:
    """Return an empty registry."""
    root = folder / "registry"
    return ModelRegistry(root, FileAliasStore(root / "aliases.json", SystemClock()), {})


def register(registry: ModelRegistry, folder: Path, *, popular: float = 1.0, promote: bool = True) -> str:
    """Register the system, its popularity multiplied by a number, which makes another version; return its label."""
    folder.mkdir(parents=True, exist_ok=True)
    saved_in(folder)
    system = load_model(folder / WEIGHTS).model
    system.generators[-1].restore({"counts": system.generators[-1].state()["counts"] * np.float32(popular)})
    save_model(system, feedback(), folder / WEIGHTS)
    Manifest(NAME, file_sha256(folder / WEIGHTS), "2026-11-01T00:00:00+00:00", "1", "test", 0).write(folder)
    return registry.register(NAME, folder, alias="champion" if promote else None).label


def live_state(*, opinions: bool = True) -> LiveState:
    """Return a state with the videos in another order than in training, new ones among them, and all that people did.

    `opinions` says whether dislikes are told, too.
    """
    state = state_of(RecommendationSettings())
    ids = [*feedback().items, *NEW]
    for place in np.random.default_rng(3).permutation(len(ids)):
        state.apply(ev.created(ids[place], 0, title=f"about {ids[place]}", owner_id=f"by-{ids[place]}"))
    table = feedback()
    for user in table.users:
        number = table.users.index(user)
        state.apply(ev.profile(user, 0, age_band=str(20 + number % 7), gender="F" if number % 3 else "M"))
    for user, item, time_s, label in zip(table.user, table.item, table.time, table.label, strict=True):
        if label > 0 or opinions:
            state.apply(ev.did("Like" if label > 0 else "Dislike", table.users[user], table.items[item], float(time_s)))
    return state


def offline_users(*, opinions: bool = True):
    users = users_of(feedback(), np.arange(feedback().n_users))
    return users if opinions else replace(users, disliked=np.full((len(users), 1), -1, np.int32))

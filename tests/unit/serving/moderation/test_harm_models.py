"""The models that score now: followed by their aliases; a challenger comes and goes, what is broken changes nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "moderation"))
from harm_networks import networks, posts, scaling_of, write_model

from core.errors import ConfigurationError
from core.settings import ModerationSettings
from models.registry.manifest import WEIGHTS, read_manifest
from models.registry.packaged import open_registry
from models.registry.store import CHALLENGER, ModelRegistry
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from serving.moderation.harm_models import HarmModels


class HandClock:
    def __init__(self) -> None:
        self.s = 0.0

    def monotonic(self) -> float:
        return self.s


class World:
    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.registry: ModelRegistry = open_registry(home, packaged={})
        self.recorder, self.clock = Recorder(), HandClock()
        self.models = HarmModels(
            self.registry,
            ModerationSettings(**settings),  # type: ignore[arg-type]
            self.recorder,
            self.clock,  # type: ignore[arg-type]  # what it uses of it
            text_encoder="e5/test",
        )

    def version(self, seed: int, alias: str | None = None, outcome: str = "") -> str:
        """Register a model of random weights."""
        scaling = scaling_of(posts(60, seed=seed))
        folder = self.home / f"made-{seed}"
        write_model(folder, networks(scaling, members=1), scaling)
        if outcome:
            manifest = read_manifest(folder)
            manifest.metrics["gate"] = {"outcome": outcome}
            manifest.write(folder)
        return self.registry.register("moderation", folder, alias=alias).label

    def loads(self, system: str, outcome: str) -> float:
        return self.recorder.value(metrics.MODEL_LOADS, system=system, outcome=outcome)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_scores_before_there_is_a_champion(world: World) -> None:
    world.models.look()
    with pytest.raises(ConfigurationError, match="moderation@champion"):
        _ = world.models.champion
    assert world.loads("moderation", "missing") == 1


def test_no_challenger_is_no_mistake(world: World) -> None:
    champion = world.version(1, "champion")
    world.models.look()
    assert world.models.champion.version == champion
    assert world.models.challenger is None
    assert world.loads("moderation_challenger", "missing") == 0


def test_a_challenger_is_compared_as_soon_as_the_alias_names_one(world: World) -> None:
    world.version(1, "champion")
    world.models.look()
    challenger = world.version(2, CHALLENGER)
    world.models.look()
    assert world.models.challenger is not None
    assert world.models.challenger.version == challenger
    assert world.loads("moderation_challenger", "loaded") == 1


def test_a_challenger_that_was_promoted_is_not_compared_with_itself(world: World) -> None:
    world.version(1, "champion")
    challenger = world.version(2, CHALLENGER)
    world.models.look()
    world.registry.promote("moderation", challenger.partition("/")[2])
    world.models.look()
    assert world.models.champion.version == challenger
    assert world.models.challenger is None


def test_a_challenger_that_is_damaged_leaves_the_champion_alone(world: World) -> None:
    champion = world.version(1, "champion")
    challenger = world.version(2, CHALLENGER).partition("/")[2]
    (world.home / "registry" / "moderation" / challenger / WEIGHTS).write_bytes(b"nothing")
    world.models.look()
    assert world.models.champion.version == champion
    assert world.models.challenger is None
    assert world.loads("moderation_challenger", "refused") == 1


def test_a_version_named_by_hand_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    world = World(tmp_path, challenger="moderation@12345678")
    world.version(1, "champion")
    world.models.look()
    assert world.loads("moderation_challenger", "missing") == 1


def test_candidates_are_counted_by_what_the_gate_made_of_them(world: World) -> None:
    world.version(1, "champion")
    world.version(2, outcome="held")
    world.version(3, outcome="held")
    world.version(4, outcome="promoted")
    world.models.look()
    found = {name: world.recorder.value(metrics.MODERATION_CANDIDATES, outcome=name) for name in ("promoted", "held")}
    assert found == {"promoted": 1, "held": 2}
    world.version(5, outcome="challenger")
    world.models.look()
    assert world.recorder.value(metrics.MODERATION_CANDIDATES, outcome="challenger") == 0  # counted once a minute
    world.clock.s = 61.0
    world.models.look()
    assert world.recorder.value(metrics.MODERATION_CANDIDATES, outcome="challenger") == 1

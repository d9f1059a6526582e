"""Learning from a real catalogue with a small champion in a registry: promoted, challenger, held, and said why."""

import io
import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "moderation" / "learning"))
from harm_words import ENCODER, posts, texts, write_champion
from moderation_said import POLICY, SETTINGS, World

from core.errors import Unavailable
from core.moderation import HARM_CLASSES
from core.settings import CatalogueSettings
from infra.cli import learn_moderation
from infra.cli.learn_moderation import Following
from infra.cli.main import app
from infra.cli.output import OutputFormat
from infra.moderation_labels import Posts
from infra.moderation_learning import Learner
from models.drift.reference import Reference, reference_of
from models.moderation.drift import WatchedPost, rows_of
from models.registry.manifest import read_manifest
from models.registry.packaged import open_registry
from models.registry.store import CHALLENGER
from storage.catalogue import Catalogue
from tests.fakes.text_encoder import FakeTextEncoder

RUNNER = CliRunner()
MODEL = "moderation"
LENIENT = {  # about what the small champion never knew, sentences of eight languages, it says anything
    "CLASS_MARGIN": "1",
    "CALIBRATION": "1",
    "MARGIN": "0.3",
    "MIN_POSTS": "20",
    "MIN_HAND": "20",
    "IMPRESSIONS": "20",
    "STEPS": "60",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion, and posts with a word of hate that it does not know, which people reported or judged."""
    home = tmp_path_factory.mktemp("filled")
    write_champion(home / "first")
    some = posts(texts(np.random.default_rng(1), 200))
    watched = [WatchedPost(one, dict.fromkeys(HARM_CLASSES, 0.1), len(one.text)) for one in some]
    rows = rows_of(watched, text_dim=ENCODER.dim, image_dim=4)
    sha256 = read_manifest(home / "first").sha256
    reference_of(rows, system="moderation", source="200 texts").save(home / "first", made_for=sha256)
    open_registry(home).register(MODEL, home / "first", alias="champion")
    catalogue = Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings())
    world, generator = World(catalogue), np.random.default_rng(3)
    for number, text in enumerate(texts(generator, 40, "zorp")):
        world.post(f"r{number}", text=text)
        world.reported(f"r{number}")
    for number, text in enumerate(texts(generator, 30)):
        world.post(f"u{number}", text=text)
        world.seen(f"u{number}", 25)
    for number, text in enumerate(texts(generator, 15, "zorp")):
        world.post(f"j{number}", text=text)
        world.judged(f"j{number}", "hate")
    for number, text in enumerate(texts(generator, 15)):
        world.post(f"k{number}", text=text)
        world.judged(f"k{number}", None)
    catalogue.close()
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(filled, folder)
    monkeypatch.setenv("RIVERLIGHT_HOME", str(folder))
    for name, value in LENIENT.items():
        monkeypatch.setenv(f"RIVERLIGHT_LEARNING_MODERATION__{name}", value)
    monkeypatch.setattr(learn_moderation, "_encoder", lambda settings: FakeTextEncoder())
    monkeypatch.setattr(learn_moderation, "_images", lambda settings: np.zeros((0, 4), np.float32))
    return folder


def run(*arguments: str, code: int = 0) -> Any:
    result = RUNNER.invoke(app, ["learn", "moderation", "--output", "json", *arguments])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())


def champion(home: Path) -> str:
    return open_registry(home).show(MODEL).version


def test_what_people_reported_is_learned_registered_and_promoted(home: Path) -> None:
    before = champion(home)
    made = run()
    assert made["outcome"] == "promoted", made["reason"]
    assert (made["reported"], made["fresh"], made["unreported"], made["judged"]) == (40, 40, 30, 30)
    assert made["verdict"]["difference"]["mean"] > 0
    assert (made["parent"], champion(home)) == (before, made["version"])
    manifest = open_registry(home).show(MODEL).manifest
    assert (manifest.parent, manifest.metrics["gate"]["outcome"]) == (before, "promoted")
    assert "0 reported posts are fresh" in run(code=2)  # nothing is learned twice


def test_a_candidate_has_the_reference_for_drift_of_its_line_but_not_the_scores_of_another(home: Path) -> None:
    run()
    version = open_registry(home).show(MODEL)
    found = Reference.load(version.folder, made_for=version.manifest.sha256)
    assert found is not None
    kinds = {feature.kind for feature in found.features}
    assert kinds == {"input", "embedding"}


def test_shadow_first_makes_a_challenger_of_what_would_be_promoted(home: Path) -> None:
    before = champion(home)
    made = run("--shadow-first")
    assert made["outcome"] == "challenger"
    assert champion(home) == before
    assert open_registry(home).show(MODEL, CHALLENGER).version == made["version"]


def test_too_few_judged_posts_hold_the_candidate_and_it_is_registered_all_the_same(home: Path) -> None:
    before = champion(home)
    made = run("--min-hand", "31")
    assert (made["outcome"], champion(home)) == ("held", before)
    assert made["reason"] == "too few hand labels: 30 posts, and 31 are needed to tell"
    assert open_registry(home).show(MODEL, made["version"]).manifest.metrics["gate"]["outcome"] == "held"


def test_a_table_says_what_was_compared_and_what_to_do_next(home: Path) -> None:
    result = RUNNER.invoke(app, ["learn", "moderation", "--shadow-first"], terminal_width=200)
    told = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.output
    assert "learned 40 reported posts (40 fresh; hate 40) and 30 that nobody reported" in told
    assert "riverlight moderation shadow" in told
    assert f"riverlight models promote {MODEL}" in told


def test_a_champion_of_another_text_encoder_does_not_go_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = FakeTextEncoder()
    other.version = "text/another"
    monkeypatch.setattr(learn_moderation, "_encoder", lambda settings: other)
    assert "was trained with text encoder text/fake, this system has text/another" in run(code=1)


def test_following_makes_a_round_when_enough_is_fresh_and_none_again_for_the_same_posts(home: Path) -> None:
    catalogue = Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings())
    looks = itertools.count()
    settings = SETTINGS.model_copy(update={"min_posts": 20, "min_hand": 31, "steps": 20})  # held: it stays fresh
    learner = Learner(home, open_registry(home), Posts(catalogue, POLICY, settings), ENCODER, settings)
    told = io.StringIO()
    console = Console(file=told, width=200)
    following = Following(learner, console, OutputFormat.json, lambda: next(looks) > 30, look_s=0.0)
    following.run(None, 20, 0.0)
    catalogue.close()
    held = [one for one in open_registry(home).list(MODEL) if one.manifest.metrics.get("gate")]
    assert [one.manifest.metrics["gate"]["outcome"] for one in held] == ["held"]


def test_following_waits_for_a_catalogue_that_is_away() -> None:
    class Away:
        def fresh(self) -> set[str]:
            raise Unavailable("the catalogue does not answer")

    told, looks = io.StringIO(), itertools.count()
    following = Following(Away(), Console(file=told), OutputFormat.text, lambda: next(looks) > 3, look_s=0.0)  # type: ignore[arg-type]
    following.run(None, 20, 0.0)
    assert "waiting: the catalogue does not answer" in told.getvalue()

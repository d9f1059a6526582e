"""Learning from an archive in a folder, with a registry in it: what is registered, promoted, held and refused."""

import io
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from recommendation_home import (
    EPOCH,
    HALF,
    MODEL,
    USERS_N,
    archive,
    first_half,
    register_base,
    watches,
    write_home,
)

from core.events import encode
from core.settings import LearningSettings
from core.topics import INTERACTIONS
from infra.cli.learn_recommendation import Following
from infra.cli.main import app
from infra.cli.output import OutputFormat
from infra.cli.stopping import stopping
from infra.recommendation_learning import Learner
from infra.recommendation_stream import read_platform
from models.recommendation.data import Loaded
from models.recommendation.features import table_of_columns
from models.recommendation.interactions import make_log
from models.recommendation.labels import RelevanceRule
from models.recommendation.learning.round import Stopped
from models.recommendation.learning.version import position_of
from models.recommendation.weights import load_model, save_model
from models.registry.manifest import WEIGHTS, Manifest, file_sha256
from models.registry.packaged import open_registry
from tests.fakes.entry_log import MemoryEntryLog

RUNNER = CliRunner()
SETTINGS = LearningSettings(min_events=100, min_users=10, margin=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    write_home(home)
    register_base(home, home / "first")
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    monkeypatch.setenv("RIVERLIGHT_HOME", str(folder))
    monkeypatch.setenv("RIVERLIGHT_LEARNING__MIN_USERS", "10")
    return folder


def run(*arguments: str, code: int = 0) -> Any:
    result = RUNNER.invoke(app, ["learn", "recommendation", "--output", "json", *arguments])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())


def stop_after(questions: int) -> Callable[[], bool]:
    asked = itertools.count()
    return lambda: next(asked) >= questions


def champion(home: Path) -> str:
    return open_registry(home).show(MODEL).version


def test_a_round_is_registered_promoted_and_says_how_long_it_took_from_click_to_weights(home: Path) -> None:
    before = champion(home)
    made = run("--min-events", "100", "--margin", "0.1")
    assert made["promoted"], made["reason"]
    assert (made["parent"], made["version"]) == (before, champion(home))
    manifest = open_registry(home).show(MODEL).manifest
    assert manifest.parent == before
    assert manifest.metrics["gate"]["promote"] is True
    assert manifest.metrics["click_to_weights"]["median_min"] > 0
    # What was learned ends where the held-out fifth begins; the first half was the base's.
    assert position_of(manifest) == {EPOCH: {"0": HALF + round(0.8 * HALF)}}
    assert made["taught_events"] == round(0.8 * HALF) * (USERS_N - 1) // USERS_N  # one of them was erased


def test_the_next_round_learns_only_what_is_fresh(home: Path) -> None:
    run("--min-events", "100", "--margin", "0.1")
    assert "fresh interactions with videos and a round needs 100" in run("--min-events", "100", code=2)
    archive(home, INTERACTIONS.name, watches(each=2, seed=5, first_minute=2_000, prefix="x"), first=2 * HALF)
    made = run("--min-events", "100", "--margin", "0.1")
    fresh = HALF - round(0.8 * HALF) + 2 * USERS_N
    assert made["taught_events"] < fresh
    assert open_registry(home).show(MODEL, made["version"]).manifest.parent == made["parent"]


def test_nobody_who_asked_to_be_erased_is_learned_from(home: Path) -> None:
    platform = read_platform(home / "archive")
    assert all(one.row.user_id != "u0" for one in platform.known_to(()))
    assert "u0" not in platform.users
    assert "picture" not in platform.videos


def test_a_spoiled_candidate_is_registered_and_held(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.recommendation.learning import round as rounds

    def check_state(state: dict[str, Any]) -> None:
        """Shuffle the weights in place, where the round looks at them last."""
        rng = np.random.default_rng(0)
        for name, value in state.items():
            if name.startswith(("two-tower.network", "ease", "transitions", "popularity", "ranker.network.pick")):
                value[...] = rng.permutation(value.ravel()).reshape(value.shape)

    monkeypatch.setattr(rounds, "check_state", check_state)
    before = champion(home)
    made = run("--min-events", "100", "--margin", "0.02")
    assert made["promoted"] is False
    assert "lower" in made["reason"]
    assert made["verdict"]["candidate"]["ndcg@10"] < made["verdict"]["champion"]["ndcg@10"]
    assert champion(home) == before
    assert open_registry(home).show(MODEL, made["version"]).manifest.metrics["gate"]["promote"] is False


def test_a_champion_that_changed_meanwhile_is_not_replaced(home: Path) -> None:
    other = open_registry(home).show(MODEL).folder
    saved = load_model(other / WEIGHTS)

    class Registry:
        def __init__(self) -> None:
            self._real = open_registry(home)
            self.promotions: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def register(self, model: str, source: Path) -> Any:
            folder = home / "meanwhile"
            folder.mkdir()
            state = saved.model.state()
            state["popularity.counts"] = state["popularity.counts"] + 1
            saved.model.restore(state)
            from recommendation_home import first_half

            save_model(saved.model, first_half(home), folder / WEIGHTS)
            Manifest(MODEL, file_sha256(folder / WEIGHTS), "2026-11-02", "1", "t", 0).write(folder)
            self._real.register(MODEL, folder, alias="champion")
            return self._real.register(model, source)

    made = Learner(home, Registry(), MODEL, SETTINGS).round(read_platform(home / "archive"))  # type: ignore[arg-type]
    assert not made.promoted
    assert "became champion meanwhile" in made.reason
    assert champion(home) != made.version


def test_an_interrupted_round_leaves_nothing_and_the_next_learns_all_of_it(home: Path) -> None:
    """A stop in any step, then as a new process: everything from the same position, once."""
    for after in (0, 3, 7):
        learner = Learner(home, open_registry(home), MODEL, SETTINGS, stop=stop_after(after))
        with pytest.raises(Stopped, match="nothing was kept"):
            learner.round(read_platform(home / "archive"))
    assert len(open_registry(home).list(MODEL)) == 1
    made = Learner(home, open_registry(home), MODEL, SETTINGS).round(read_platform(home / "archive"))
    assert made.taught_events == round(0.8 * HALF) * (USERS_N - 1) // USERS_N  # what the interrupted ones would have
    assert position_of(open_registry(home).show(MODEL, made.version).manifest) == {
        EPOCH: {"0": HALF + round(0.8 * HALF)}
    }


def test_following_learns_what_comes_after_the_archive_once(home: Path) -> None:
    log = MemoryEntryLog(partitions=1)
    for event in [*watches(), *watches(each=4, seed=5, first_minute=2_000, prefix="x")]:
        log.append(event.subject, encode(event), timestamp_ms=int(event.time.timestamp() * 1000))
    for _ in range(2):  # the second time as after a restart
        platform = read_platform(home / "archive")
        learner = Learner(home, open_registry(home), MODEL, SETTINGS.model_copy(update={"margin": 1.0, "min_users": 2}))
        reader: Any = log.open(platform.archived[EPOCH])
        following = Following(
            reader,
            EPOCH,
            learner,
            platform,
            home / "archive",
            Console(file=io.StringIO()),
            OutputFormat.json,
            stop=stop_after(50),
        )
        following.run(1, 60, 0.0)
    versions = {one.version: one.manifest for one in open_registry(home).list(MODEL)}
    assert len(versions) == 3
    line, taught = champion(home), 0
    learned = position_of(versions[line])[EPOCH]["0"]
    while "events" in versions[line].data:
        taught, line = taught + versions[line].data["events"], versions[line].parent or ""
    everything = [*watches(), *watches(each=4, seed=5)]
    assert 2 * HALF < learned <= len(everything)
    assert taught == sum(event.subject != "u0" for event in everything[HALF:learned])  # each of them once


def test_a_version_that_was_trained_on_other_data_than_its_manifest_says_learns_without_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's version once named the data set that its films are cut from: encoded otherwise, under other ids."""
    register_base(home, home / "other", archive=False, dataset="ml-100k")
    feedback = first_half(home)
    people = [f"u{user}" for user in range(USERS_N)]
    table = table_of_columns(people, {"occupation": ["artist", "doctor", "lawyer"] * (USERS_N // 3)})
    log = make_log(["u1"], ["i1"], np.zeros(1))
    loaded = Loaded(replace(feedback, user_table=table), log, RelevanceRule(), {})
    monkeypatch.setattr("infra.recommendation_learning.load_feedback", lambda home: loaded)
    made = run("--min-events", "100", "--margin", "1")
    assert made["taught_events"] > 100


def test_following_begins_with_the_log_where_nothing_is_archived_yet(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryEntryLog(partitions=1)
    for event in [*watches(), *watches(each=4, seed=5, first_minute=2_000, prefix="x")]:
        log.append(event.subject, encode(event), timestamp_ms=int(event.time.timestamp() * 1000))
    shutil.rmtree(home / "archive" / INTERACTIONS.name)
    assert "no archive of interactions" in run("--min-events", "100", code=2)
    monkeypatch.setattr(
        "infra.cli.learn_recommendation._open_log",
        lambda bootstrap, platform: (log.open(platform.archived.get(EPOCH, {})), EPOCH),
    )
    made = run("--follow", "--rounds", "1", "--min-events", "100", "--margin", "1", "--broker", "127.0.0.1:1")
    assert made["taught_events"] > 100
    assert made["version"] == champion(home)


@pytest.fixture
def signalled() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("signalled")
def test_a_termination_is_obeyed_between_steps() -> None:
    with stopping() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()


def test_what_is_missing_is_named(home: Path) -> None:
    assert "needs 100000" in run("--min-events", "100000", code=2)
    shutil.rmtree(home / "registry")
    said = run(code=2)
    assert "no model 'recommendation-quick-system' is registered" in said
    assert "riverlight train recommendation --model quick-system --promote" in said
    shutil.rmtree(home / "archive")
    assert "there is no archive of interactions" in run(code=2)


def test_a_file_that_the_model_was_not_trained_on_is_refused(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("user,item,value,timestamp\nu1,i1,5,1\nu1,i2,1,2\n", encoding="utf-8")
    assert "is not what recommendation-quick-system/" in run("--interactions", str(other), code=2)

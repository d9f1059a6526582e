"""`riverlight drift show`: the table, the document, the picture, and what is said where there is nothing."""

import json

import msgspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.clock import SystemClock
from infra.cli import drift
from infra.cli.main import app
from models.drift.monitor import DriftMonitor, Limits
from models.drift.reference import Rows, reference_of
from serving.moderation.drift import DriftStatus

GENERATOR = np.random.default_rng(0)


def rows(count: int, moved: float = 0.0) -> Rows:
    return Rows(
        numbers={"text_length": GENERATOR.normal(size=count) + 5 * moved, "links": np.full(count, 1.0)},
        categories={"language": GENERATOR.choice(["en", "es"], count, p=[1 - 0.9 * moved, 0.9 * moved]).tolist()},
        scores={"spam": GENERATOR.random(count)},
    )


@pytest.fixture
def show(tmp_path, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(status: DriftStatus | None, *arguments: str):
        if status is not None:
            answer = msgspec.json.decode(msgspec.json.encode(status))
            monkeypatch.setattr(drift, "call", lambda settings, method, path, **more: answer)
        return CliRunner().invoke(app, ["drift", "show", *arguments])

    return run


def test_accepting_tells_what_became_the_reference(monkeypatch, status):
    asked = []

    def call(settings, method, path, **more):
        asked.append((method, path))
        return msgspec.json.decode(msgspec.json.encode(status))

    monkeypatch.setattr(drift, "call", call)
    accepted = CliRunner().invoke(app, ["drift", "accept"])
    assert asked == [("POST", "/models/moderator/drift")]
    assert accepted.exit_code == 0
    assert "500 posts of the last 60 minutes are the reference now" in " ".join(accepted.stdout.split())


@pytest.fixture
def status() -> DriftStatus:
    trained = rows(3_000)
    reference = reference_of(
        Rows(trained.numbers, trained.categories, {}, trained.scores),
        system="moderation",
        source="3,000 training texts",
    )
    monitor = DriftMonitor("moderation", "moderation/abc", reference, SystemClock(), Limits(first=2_000))
    monitor.observe(rows(500, moved=0.5))
    return DriftStatus(monitor.report())


def test_features_that_drift_come_first_with_what_moved(show, status):
    shown = show(status)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert "500 posts of the last 60 minutes" in lines[0] and "500 of the first 2,000 posts" in lines[1]
    first = next(line for line in lines if "input " in line)
    assert "drift" in first and "3,000 training texts" in first and "→" in first
    assert next(line for line in lines if "score spam" in line).split()[2] == "same"


def test_programs_get_numbers(show, status):
    found = {one["name"]: one for one in json.loads(show(status, "--output", "json").stdout)["report"]["features"]}
    assert found["language"]["verdict"] == found["text_length"]["verdict"] == "drift"
    assert found["language"]["ks"] is None and found["text_length"]["ks"] > 0.2
    assert found["links"]["psi"] == 0.0


def test_the_picture_is_a_png(show, status, tmp_path):
    assert show(status, "--plot", str(tmp_path / "drift.png")).exit_code == 0
    assert Image.open(tmp_path / "drift.png").size[0] == 880


def test_before_there_is_a_post_it_says_so(show):
    shown = show(DriftStatus(None))
    assert shown.exit_code == 1 and "too few posts were scored" in " ".join(shown.stderr.split())


def test_of_too_few_posts_the_table_has_no_numbers(show):
    reference = reference_of(rows(3_000), system="moderation", source="3,000 training texts")
    monitor = DriftMonitor("moderation", "moderation/abc", reference, SystemClock())
    monitor.observe(rows(10, moved=1.0))
    shown = show(DriftStatus(monitor.report(), "the file is damaged"))
    assert "too-few" in shown.stdout and "problem: the file is damaged" in shown.stdout


def test_when_nothing_runs_it_says_how_to_start(show):
    shown = show(None)
    assert shown.exit_code == 3
    assert "riverlight up" in " ".join(shown.stderr.split())

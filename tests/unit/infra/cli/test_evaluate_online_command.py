"""`evaluate recommendation --online` and `--archive` over a real catalogue and archive in a folder."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from recommendation_home import START, archive, write_home

from core.events import Click, Event, Impression, Interaction
from core.settings import CatalogueSettings
from core.topics import INTERACTIONS
from infra.cli.main import app
from storage.catalogue import Catalogue, TraceRecord

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    write_home(tmp_path)
    return tmp_path


def show(home: Path, answers: int) -> None:
    """Each answer shows two videos; the first is opened in every other one."""
    catalogue = Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings())
    happened: list[Event] = []
    for n in range(answers):
        candidates = [
            {
                "item_id": f"i{place}",
                "score": 1.0 - place / 10,
                "objectives": {"click": 0.5, "watch": 0.1 * place},
                "generators": ["popular"],
                "position": place if place < 2 else None,
                "place": "score" if place < 2 else None,
                "propensity": 0.5 if place < 2 else None,
            }
            for place in range(3)
        ]
        payload = {"scored_by": f"m/{n % 2}", "candidates": candidates}
        catalogue.put_traces([TraceRecord(f"t{n}", "recommendation", START, payload)])
        for place in range(2):
            happened.append(did(Impression, n, f"i{place}", f"shown-{n}-{place}"))
        if n % 2:
            happened.append(did(Click, n, "i0", f"opened-{n}"))
    catalogue.close()
    archive(home, INTERACTIONS.name, happened, first=10_000)


def did(kind: type[Event], n: int, item: str, event_id: str) -> Event:
    data = Interaction(user_id=f"u{n}", item_id=item, surface="home", trace_id=f"t{n}")
    at = START + timedelta(days=3, minutes=n)
    return kind(id=event_id, source="t", time=at, subject=f"u{n}", data=data)  # type: ignore[call-arg]


def run(*arguments: str, code: int = 0) -> Any:
    result = RUNNER.invoke(app, ["evaluate", "recommendation", "--output", "json", *arguments])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())


def test_what_people_did_is_shown_by_version_and_generator_with_estimates_of_other_policies(home: Path) -> None:
    show(home, 40)
    found = run("--online", "--policy", "click=0,watch=1", "--policy", "logged")
    assert found["answers"] == 40
    assert found["versions"]["m/1"]["ctr"] == 0.5
    assert found["versions"]["m/0"]["click"] == 0
    assert found["generators"]["popular"]["impression"] == 80
    low, high = found["ctr"]["m/1"][1:]
    assert low < 0.5 < high
    assert [one["policy"] for one in found["policies"]] == ["click=0,watch=1", "logged"]
    assert found["policies"][0]["rows"] == 80
    assert RUNNER.invoke(app, ["evaluate", "recommendation", "--online"]).exit_code == 0


def test_nothing_shown_and_a_wrong_policy_are_named(home: Path) -> None:
    assert "none of the archived interactions is about a video of a known answer" in run("--online", code=2)
    show(home, 4)
    assert "--policy takes `logged`, or weights" in run("--online", "--policy", "clicks", code=2)
    assert "answers know no objective share" in run("--online", "--policy", "share=1", code=2)


def test_models_are_compared_on_the_platforms_own_archive(home: Path) -> None:
    found = run("--archive", "--models", "popularity", "--models", "ease")
    assert found["data"]["archive"] is True
    assert found["models"]["ease"]["values"]["hr@10"] > found["models"]["popularity"]["values"]["hr@10"]
    half = run("--archive", "--until", "2026-11-01T06:00:00", "--models", "popularity")
    assert half["train_pairs"] < found["train_pairs"]
    assert "takes no files" in run("--archive", "--items", "some.csv", code=2)


def test_a_model_trained_on_the_archive_knows_its_position(home: Path) -> None:
    arguments = ["train", "recommendation", "--model", "ease", "--archive", "--promote", "-o", "json"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    folder = Path(json.loads(result.stdout)["folder"])
    data = json.loads((folder / "manifest.json").read_text())["data"]
    assert data["learned"] == {"e": {"0": 60 * 12}}
    said = RUNNER.invoke(app, ["learn", "recommendation", "--model", "recommendation-ease"])
    assert said.exit_code == 2
    assert "there are 0 fresh interactions" in " ".join(said.output.split())

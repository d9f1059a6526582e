"""`riverlight audit` over a catalogue with a past."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from core.settings import load_settings
from infra.cli.main import app
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from tests.moderation_records import a_decision, a_job, a_post

runner = CliRunner()


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    settings = load_settings()
    opened = Catalogue.open(settings.catalogue_url, settings.catalogue)
    store = ModerationStore(opened.database)
    for name in ("post-1", "post-2"):
        store.record("m", [], [a_post(name)], [a_decision(name, name)], [a_job(name)])
    yield opened
    opened.close()


def tamper(catalogue: Catalogue, statement: str) -> None:
    with catalogue.database.writing() as connection:
        connection.execute(text(statement))


def test_a_whole_log_is_verified_and_its_head_named(catalogue: Catalogue) -> None:
    head = json.loads(runner.invoke(app, ["audit", "head", "--output", "json"]).stdout)
    assert head == {"seq": 6, "hash": ModerationStore(catalogue.database).audit_head().hash}
    shown = runner.invoke(app, ["audit", "head"])
    assert shown.stdout.split() == ["6", head["hash"]]
    result = runner.invoke(app, ["audit", "verify"])
    assert result.exit_code == 0
    assert "6 entries, whole" in result.stdout and "verify with --head" in " ".join(result.stdout.split())
    result = runner.invoke(app, ["audit", "verify", "--head", head["hash"], "--output", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "entries": 6, "head": head, "broken": None, "why": ""}


def test_tampering_ends_with_code_1_and_names_the_entry(catalogue: Catalogue) -> None:
    tamper(catalogue, "UPDATE audit_log SET subject = 'post-3' WHERE seq = 2")
    result = runner.invoke(app, ["audit", "verify", "--output", "json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["ok"], document["broken"]) == (False, 2)
    result = runner.invoke(app, ["audit", "verify"])
    assert result.exit_code == 1 and "BROKEN: entry 2 does not match its hash" in " ".join(result.stdout.split())


def test_a_log_that_was_cut_off_is_told_by_the_head_that_was_kept(catalogue: Catalogue) -> None:
    kept = runner.invoke(app, ["audit", "head"]).stdout.split()[1]
    tamper(catalogue, "DELETE FROM audit_log WHERE seq = 6")
    assert runner.invoke(app, ["audit", "verify"]).exit_code == 0
    result = runner.invoke(app, ["audit", "verify", "--head", kept, "--output", "json"])
    assert result.exit_code == 1
    assert "were taken away" in json.loads(result.stdout)["why"]


def test_the_story_of_one_post_is_shown_newest_first(catalogue: Catalogue) -> None:
    result = runner.invoke(app, ["audit", "show", "--subject", "post-2", "--output", "json"])
    entries = json.loads(result.stdout)
    assert [(entry["seq"], entry["action"]) for entry in entries] == [(6, "job.opened"), (5, "decision.made")]
    assert entries[1]["payload"]["decision"] == "post-2"
    result = runner.invoke(app, ["audit", "show", "--limit", "1"])
    assert "job.opened" in result.stdout and "decision.made" not in result.stdout

"""`riverlight moderation measures|republish`, on a catalogue of its own."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.settings import CatalogueSettings
from infra.cli.main import app
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from tests.moderation_records import a_decision, a_post

runner = CliRunner()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModerationStore]:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("RIVERLIGHT_CATALOGUE__URL", url)
    catalogue = Catalogue.open(url, CatalogueSettings())
    yield ModerationStore(catalogue.database)
    catalogue.close()


def invoke(*arguments: str) -> str:
    result = runner.invoke(app, ["moderation", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def taken_down(store: ModerationStore, number: int) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    for n in range(number):
        decision = a_decision(f"d{n}", f"p{n}", decided_at=at + timedelta(seconds=3))
        store.record("m", [], [a_post(f"p{n}", posted_at=at)], [decision])


def test_nothing_is_unknown_and_never_zero(store: ModerationStore) -> None:
    told = invoke("measures")
    assert "unknown" in told
    assert "0.00%" not in told
    found = json.loads(invoke("measures", "--output", "json"))
    assert found["prevalence"]["any"] == {"value": None, "low": None, "high": None}
    assert found["valid_appeals"]["share"] is None


def test_what_happened_in_the_days_is_told(store: ModerationStore) -> None:
    taken_down(store, 20)
    found = json.loads(invoke("measures", "--days", "1", "--output", "json"))
    assert (found["enforced"], found["proactive"]["share"]) == (20, 1.0)
    assert found["post_to_enforced"]["p95_s"] == pytest.approx(3.0)
    told = invoke("measures", "--days", "1")
    assert "100% of 20" in told
    assert "p50 3 s, p95 3 s" in told
    assert "p50 unknown" in invoke("measures", "--days", "0.01")


def test_verdicts_are_put_into_the_outbox_once_more(store: ModerationStore) -> None:
    taken_down(store, 3)
    found = json.loads(invoke("republish", "--by", "ada", "--output", "json"))
    assert (found["posts"], found["verdicts"]) == (3, 3)
    assert "3 verdicts of 3 posts" in invoke("republish", "--by", "ada")

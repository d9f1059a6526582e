"""The commands over real stores in a folder: what they print is what the stores hold."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from core.clock import SystemClock
from core.events import Click, Impression, Interaction, encode
from core.ports import StoredRecord
from core.settings import FeatureSettings
from core.topics import INTERACTIONS
from features.archive import ArchiveWriter
from features.engine import FeatureEngine
from infra.cli.main import app

NOW = datetime.now(UTC)
RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    return tmp_path


def archive_interactions(home: Path) -> None:
    """Three impressions an hour ago, one of them clicked, and a fresh one."""
    events = []
    for number, (kind, item, minutes) in enumerate(
        [
            (Impression, "a", 60),
            (Impression, "b", 60),
            (Impression, "c", 59),
            (Click, "b", 58),
            (Impression, "a", 1),
        ]
    ):
        data = Interaction(user_id="user-1", item_id=item, surface="visual_search", position=0, trace_id="t")
        at = NOW - timedelta(minutes=minutes)
        events.append(kind(id=f"evt-{number}", source="test", time=at, subject="user-1", data=data))
    records = [
        StoredRecord(INTERACTIONS.name, 0, n, e.subject, encode(e), {}, int(e.time.timestamp() * 1000))
        for n, e in enumerate(events)
    ]
    ArchiveWriter(home / "archive").write(INTERACTIONS.name, records)


def run(*arguments: str) -> object:
    result = RUNNER.invoke(app, ["features", *arguments, "--output", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_rebuilt_archive_can_be_shown(home: Path) -> None:
    archive_interactions(home)
    rebuilt = run("rebuild")
    assert rebuilt["events"] == 5
    assert rebuilt["positions"] == {"0": 4}
    rows = {row["entity_id"]: row for row in run("show", "item", "a", "b", "nobody")}
    assert rows["a"]["values"]["impressions_month"] == 2
    assert (rows["b"]["values"]["impressions_month"], rows["b"]["values"]["clicks_month"]) == (1, 1)
    assert rows["nobody"]["status"] == "missing"
    [user] = run("show", "user", "user-1")
    assert user["values"]["clicks_month"] == 1


def test_a_training_set_says_how_many_rows_were_clicked_and_leaves_out_what_is_too_young(home: Path) -> None:
    archive_interactions(home)
    found = run("training-set")
    assert (found["rows"], found["positives"], found["users"], found["items"]) == (3, 1, 1, 3)
    assert datetime.fromisoformat(found["since"]) == NOW - timedelta(minutes=60)
    table = pq.read_table(home / "training" / "clicks.parquet").to_pylist()
    assert {row["item_id"]: row["clicked"] for row in table} == {"a": 0, "b": 1, "c": 0}
    assert set(found["features"]) == {name for name in table[0] if "__" in name}
    assert run("history")["events"] == 5


def test_an_archive_without_old_enough_impressions_is_said_so(home: Path) -> None:
    archive_interactions(home)
    result = RUNNER.invoke(app, ["features", "training-set", "--since", "2999-01-01"])
    assert result.exit_code == 2
    assert "--attribution-minutes" in result.output


def test_a_rebuild_is_refused_while_a_worker_counts(home: Path) -> None:
    engine = FeatureEngine.open(home, FeatureSettings(), SystemClock())
    result = RUNNER.invoke(app, ["features", "rebuild"])
    engine.close()
    assert result.exit_code == 1
    assert "stop it first" in " ".join(result.output.split())


def test_no_command_loads_a_heavy_library_before_it_runs() -> None:
    heavy = ("torch", "feast", "ray", "faust", "pandas", "sqlalchemy", "confluent_kafka", "faiss")
    code = f"import sys, infra.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"

"""`riverlight bench run`: what a benchmark says is shown as it is, and one that fails is named."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import Unavailable
from infra.bench.result import Benchmark, BenchOptions, BenchResult
from infra.cli.main import app

SAID = "cannot bind [/tmp/proxy.cfg:52] [bold]"


def fails(options: BenchOptions) -> BenchResult:
    options.report("a line with [brackets]")
    raise Unavailable(SAID)


def test_what_a_benchmark_says_is_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    monkeypatch.setattr("infra.bench.catalogue.benchmarks", lambda: (Benchmark("one", "a title", fails),))
    result = CliRunner().invoke(app, ["bench", "run", "one"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "a line with [brackets]" in result.output
    assert f"one: failed: {SAID}" in result.output

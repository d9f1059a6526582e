"""`riverlight bench index` on files of vectors."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from infra.cli.bench_index import index_command
from models.index.vector_files import clustered_vectors


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RIVERLIGHT_INDEX__TRAIN_AT", "64")
    app = typer.Typer()
    app.command()(index_command)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_kinds_named_are_measured_on_a_file_and_written_as_table_data_and_plot(bench, tmp_path):
    np.save(tmp_path / "v.npy", 7 * clustered_vectors(600, 8))
    done = bench("--vectors", tmp_path / "v.npy", "--kinds", "flat, ivf_sq8", "--k", 5)
    assert done.exit_code == 0, done.output
    assert "recall@5" in done.stdout and "ivf_sq8" in done.stdout
    folder = tmp_path / "home" / "bench" / "kinds"
    written = json.loads((folder / "index-kinds.json").read_text())
    assert (written["count"], written["dim"], written["queries"], written["k"]) == (540, 8, 60, 5)
    assert [row["kind"] for row in written["kinds"]] == ["flat", "ivf_sq8"]
    assert written["kinds"][0]["recall"] >= 0.99
    assert (folder / "index-kinds.png").read_bytes().startswith(b"\x89PNG")


def test_queries_of_ones_own_are_searched_for_and_json_goes_to_standard_output(bench, tmp_path):
    np.save(tmp_path / "v.npy", clustered_vectors(300, 8))
    np.save(tmp_path / "q.npy", clustered_vectors(7, 8, seed=1))
    done = bench(
        "--vectors", tmp_path / "v.npy", "--queries", tmp_path / "q.npy", "--kinds", "flat",
        "--folder", tmp_path / "out", "-o", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["count"], found["queries"]) == (300, 7)
    assert found["files"] == [str(tmp_path / "out" / "index-kinds.json"), str(tmp_path / "out" / "index-kinds.png")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--vectors", "missing.npy"], "cannot be read"),
        (["--vectors", "text.npy"], "is not an .npy file"),
        (["--vectors", "flat.npy"], "shape (9,)"),
        (["--vectors", "nan.npy"], "not finite"),
        (["--vectors", "objects.npy"], "no plain array"),
        (["--vectors", "good.npy", "--kinds", "hsnw"], "no index kind 'hsnw'"),
        (["--vectors", "good.npy", "--kinds", ","], "no kind was named"),
        (["--vectors", "good.npy", "--k", "91"], "number of vectors"),
        (["--vectors", "good.npy", "--queries", "other.npy"], "queries have 3 dimensions, the vectors 2"),
        (["--vectors", "few.npy"], "give --queries"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_a_usage_error_that_says_why(bench, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("text.npy").write_text("1,2\n")
    np.save("flat.npy", np.ones(9))
    np.save("nan.npy", np.array([[1.0, np.nan]]))
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save("good.npy", np.random.default_rng(0).random((100, 2)))
    np.save("other.npy", np.ones((2, 3)))
    np.save("few.npy", np.ones((19, 2)))
    done = bench(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())

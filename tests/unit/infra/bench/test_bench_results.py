import json
from pathlib import Path

import pytest

from core.errors import InvalidInput, Unavailable
from infra.bench.report import figure, write_page
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Curve, Measurement, bar, compare
from infra.bench.runner import chosen, read_results, run_benchmarks

FAST = Measurement("ours", "events/s", "higher", (12_000.0, 9_000.0, 11_000.0))
SLOW = Measurement("plain", "events/s", "higher", (2_000.0, 2_750.0, 3_000.0))
LATE = Measurement("late, p99", "ms", "lower", (30.0, 10.0, 20.0))
SOON = Measurement("floor, p99", "ms", "lower", (5.0,))


def _result(options: BenchOptions) -> BenchResult:
    return BenchResult(
        name="demo",
        title="Demonstration",
        command="riverlight bench run demo",
        measurements=(FAST, SLOW, LATE),
        comparisons=(compare((FAST, SLOW), "ours", "plain"),),
        bars=(bar((FAST,), "ours", 10_000), bar((LATE,), "late, p99", 15)),
        curves=(Curve("Cost by size", "items", "ms", (1e4, 1e5), {"ours": (1.0, 2.0), "plain": (3.0, None)}),),
        notes=("taken by a test",),
    )


def _failing(options: BenchOptions) -> BenchResult:
    raise Unavailable("no broker")


def test_a_ratio_is_above_one_where_ours_is_better_whichever_way_is_better() -> None:
    assert compare((FAST, SLOW), "ours", "plain").ratio == pytest.approx(4.0)
    assert compare((LATE, SOON), "late, p99", "floor, p99").ratio == pytest.approx(0.25)


def test_a_bar_is_met_by_the_median_and_not_by_the_best_repetition() -> None:
    assert bar((FAST,), "ours", 11_000).met
    assert not bar((FAST,), "ours", 11_001).met
    assert bar((LATE,), "late, p99", 20).met
    assert not bar((LATE,), "late, p99", 19.9).met


def test_a_measurement_that_was_not_taken_is_named() -> None:
    with pytest.raises(KeyError, match=r"'nothing'.*ours"):
        bar((FAST,), "nothing", 1)


def test_a_run_writes_each_result_with_the_machine_it_was_taken_on(tmp_path: Path) -> None:
    lines: list[str] = []
    [document] = run_benchmarks([Benchmark("demo", "x", _result)], BenchOptions(tmp_path, report=lines.append))
    kept = json.loads((tmp_path / "demo.json").read_text())
    assert kept == json.loads(json.dumps(document))
    assert kept["measurements"][0]["median"] == 11_000
    assert kept["machine"]["cpus"] >= 1
    assert lines == ["demo: x"]


def test_a_benchmark_that_fails_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    benchmarks = [Benchmark("broken", "x", _failing), Benchmark("demo", "x", _result)]
    with pytest.raises(Unavailable, match="no broker"):
        run_benchmarks(benchmarks, BenchOptions(tmp_path, report=lambda line: None))
    assert [document["name"] for document in read_results(tmp_path)] == ["demo"]


def test_an_unknown_benchmark_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="'dmeo'; there are demo"):
        chosen([Benchmark("demo", "x", _result)], ["dmeo"])


def test_the_page_says_what_was_not_met_and_draws_the_curves(tmp_path: Path) -> None:
    [document] = run_benchmarks([Benchmark("demo", "x", _result)], BenchOptions(tmp_path, report=lambda line: None))
    written = write_page([document], tmp_path / "docs" / "benchmarks.md", [document["name"]])
    page = written[0].read_text()
    assert "| ours | 11,000 events/s | 12,000, 9,000, 11,000 | ≥ 10,000: met |" in page
    assert "| late, p99 | 20 ms | 30, 10, 20 | ≤ 15: NOT met |" in page
    assert "| ours | plain | 4× |" in page
    assert "| 100,000 | 2 | – |" in page
    assert [path.read_bytes()[:4] for path in written[1:]] == [b"\x89PNG"]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (123456.0, "123,000")]
)
def test_figures_have_three_significant_digits(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_benchmark_that_was_not_measured_again_keeps_its_section(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    [measured] = run_benchmarks([Benchmark("demo", "x", _result)], BenchOptions(tmp_path, report=lambda line: None))

    def written(name: str, title: str) -> dict[str, object]:
        return measured | {"name": name, "title": title, "command": f"riverlight bench run {name}"}

    one, other = (written(name, f"What {name} does") for name in ("one", "an-other"))
    write_page([one, other], page, ["an-other", "one"])
    before = page.read_text()
    assert before.index("## What an-other does") < before.index("## What one does")
    write_page([written("one", "What one does now")], page, ["an-other", "one"])
    after = page.read_text()
    assert "## What an-other does" in after and "## What one does now" in after and "## What one does\n" not in after
    write_page([other], page, ["an-other", "one"])
    assert page.read_text() == after
    write_page([other], page, ["an-other"])
    assert "## What one" not in page.read_text(), "a benchmark that is no more keeps no section"

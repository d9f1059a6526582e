"""`riverlight bench`."""

from pathlib import Path
from typing import Annotated

import typer

from core.settings import load_settings
from infra.cli.bench_index import index_command
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

app = typer.Typer(no_args_is_help=True, help="Measure the promises, each beside its baseline; write tables and plots.")
app.command("index")(index_command)


@app.command("run")
def run_command(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run. Default: all.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median is reported.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Small and rough: only to see that it runs.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Run benchmarks and write `<home>/bench/<name>.json`.

    Each starts what it needs in a scratch folder and stops it again; a system that runs already only disturbs.

    Example: `riverlight bench run uploads interactions --repeats 5`
    """
    from infra.bench.catalogue import benchmarks
    from infra.bench.report import table
    from infra.bench.result import BenchOptions
    from infra.bench.runner import chosen, run_benchmarks

    with errors():
        folder = load_settings().home.resolve() / "bench"
        console = progress_console()
        options = BenchOptions(
            folder, repeats, quick, report=lambda line: console.print(line, style="dim", markup=False)
        )
        documents = run_benchmarks(chosen(benchmarks(), names or []), options)
        emit(documents, table(documents), output)


@app.command("list")
def list_command(output: OutputOption = OutputFormat.text) -> None:
    """List the benchmarks."""
    from rich.table import Table

    from infra.bench.catalogue import benchmarks

    with errors():
        shown = Table("name", "measures")
        for benchmark in benchmarks():
            shown.add_row(benchmark.name, benchmark.title)
        emit([{"name": found.name, "title": found.title} for found in benchmarks()], shown, output)


@app.command("report")
def report_command(
    page: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/benchmarks.md"),
    output: OutputOption = OutputFormat.text,
) -> None:
    """Write the page of benchmarks and its plots from what was measured; what was not keeps its section."""
    from core.errors import NotFound
    from infra.bench.catalogue import benchmarks
    from infra.bench.report import write_page
    from infra.bench.runner import read_results

    with errors():
        folder = load_settings().home.resolve() / "bench"
        order = [benchmark.name for benchmark in benchmarks()]
        found = [document for document in read_results(folder) if document.get("name") in order]
        if not found:
            raise NotFound(f"no results in {folder}; measure first: riverlight bench run")
        written = write_page(found, page, order)
        emit([str(path) for path in written], "\n".join(str(path) for path in written), output)

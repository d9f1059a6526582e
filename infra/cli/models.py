"""`riverlight models`: versions of trained models and the aliases that say which one serves."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors

if TYPE_CHECKING:
    from models.registry.store import ModelRegistry, ModelVersion

app = typer.Typer(no_args_is_help=True, help="Versions of trained models, and which one serves.")

ModelArgument = Annotated[str, typer.Argument(help="Name of the model, e.g. visual-search.")]
AliasOption = Annotated[str, typer.Option("--alias", help="The alias to move: champion (serves) or challenger.")]


@app.command("list")
def list_command(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """List versions, newest first, with their aliases."""
    with errors():
        versions = _registry().list(model)
        emit([_plain(version) for version in versions], _table(versions), output)


@app.command("show")
def show_command(
    model: ModelArgument,
    version: Annotated[str | None, typer.Argument(help="A version or an alias; the champion when left out.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show one version: how it was made, from what, and how good it is."""
    with errors():
        found = _registry().show(model, version)
        card = (found.folder / "card.md").read_text(encoding="utf-8") if (found.folder / "card.md").is_file() else ""
        emit({**_plain(found), "manifest": found.manifest}, card or str(found.manifest), output)


@app.command("promote")
def promote_command(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="The version that is to serve.")],
    alias: AliasOption = "champion",
    output: OutputOption = OutputFormat.text,
) -> None:
    """Let an alias point to a version. The image encoder serves its champion from its next start on.

    A new encoder makes other vectors: afterwards run `riverlight index rebuild` and restart.
    """
    with errors():
        promoted = _registry().promote(model, version, alias=alias)
        emit(_plain(promoted), f"{alias} of {model} is now {promoted.version}", output)


@app.command("rollback")
def rollback_command(
    model: ModelArgument, alias: AliasOption = "champion", output: OutputOption = OutputFormat.text
) -> None:
    """Let an alias point to the version it pointed to before."""
    with errors():
        restored = _registry().rollback(model, alias=alias)
        emit(_plain(restored), f"{alias} of {model} is {restored.version} again", output)


def _registry() -> "ModelRegistry":
    from models.registry.packaged import open_registry

    return open_registry(load_settings().home)


def _plain(version: "ModelVersion") -> dict[str, object]:
    return {
        "model": version.model,
        "version": version.version,
        "aliases": version.aliases,
        "created": version.manifest.created,
        "folder": version.folder,
        "sha256": version.manifest.sha256,
    }


def _table(versions: list["ModelVersion"]) -> Table:
    table = Table()
    for column in ("model", "version", "aliases", "created", "made by"):
        table.add_column(column)
    for version in versions:
        table.add_row(
            version.model,
            version.version,
            ", ".join(version.aliases),
            version.manifest.created,
            version.manifest.command,
        )
    return table

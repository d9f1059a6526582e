"""`riverlight docs`: write the generated reference pages of a source checkout."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.output import OutputFormat, OutputOption, emit, errors


def docs_command(
    root: Annotated[Path, typer.Option(help="The root of the checkout.")] = Path(),
    output: OutputOption = OutputFormat.text,
) -> None:
    """Write the pages that come from the code: settings, topics, metrics, event schema, rules, dashboards."""
    from infra.references import write_pages

    with errors():
        changed = write_pages(root)
        emit({"changed": changed}, "\n".join(changed) or "nothing changed", output)

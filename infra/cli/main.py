"""The `riverlight` command."""

from typing import Annotated

import typer

from infra.cli import (
    access,
    audit,
    bench,
    chaos,
    data,
    dead_letters,
    demo,
    docs,
    drift,
    features,
    index,
    learn,
    models,
    moderation,
    plan,
    produce,
    system,
)

app = typer.Typer(
    name="riverlight",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="One real-time system that understands a content platform.\n\n"
    "Start with `riverlight demo`, or with `riverlight up --detach` and the console it names.\n\n"
    "Settings come from `RIVERLIGHT_*` variables and `riverlight.toml`; everything is kept under `RIVERLIGHT_HOME` "
    "(default `./var`). Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 nothing is running.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"riverlight {version('riverlight')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


system.register(app)
app.command("demo")(demo.demo_command)
app.command("produce")(produce.produce_command)
app.command("docs")(docs.docs_command)
app.add_typer(access.app, name="access")
app.add_typer(audit.app, name="audit")
app.add_typer(data.app, name="data")
app.add_typer(learn.train_app, name="train")
app.add_typer(learn.learn_app, name="learn")
app.add_typer(learn.evaluate_app, name="evaluate")
app.add_typer(models.app, name="models")
app.add_typer(moderation.app, name="moderation")
app.add_typer(drift.app, name="drift")
app.add_typer(features.app, name="features")
app.add_typer(index.app, name="index")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(chaos.app, name="chaos")
app.add_typer(bench.app, name="bench")
app.add_typer(plan.app, name="plan")


def main() -> None:
    """Run the command line."""
    app()

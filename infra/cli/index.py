"""`riverlight index`: the live vector index."""

import typer
from rich.table import Table

from core.settings import load_settings
from infra.cli.output import EXIT_FAILED, OutputFormat, OutputOption, emit, errors, progress_console
from infra.cli.running import api_url, bootstrap_of, call, call_until_done

app = typer.Typer(no_args_is_help=True, help="The live vector index: look, prove, rebuild, snapshot.")


@app.command("info")
def info_command(output: OutputOption = OutputFormat.text) -> None:
    """Show what the index holds, how it is built, and how far it has followed the log."""
    with errors():
        info = call(load_settings(), "GET", "/v1/index")
        table = Table(show_header=False)
        for name, value in info.items():
            table.add_row(
                name, "\n".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            )
        emit(info, table, output)


@app.command("verify")
def verify_command(output: OutputOption = OutputFormat.text) -> None:
    """Prove that the live index equals one built from the log now. Exit code 1 when they differ."""
    with errors():
        result = call_until_done(load_settings(), "/v1/index/verify")
        if result["equal"]:
            text = f"equal: {result['items']} items, hash {result['live_hash'][:16]} (from {result['records']} records)"
        else:
            text = (
                f"[bold red]DIFFERENT[/]: {len(result['missing'])} missing, {len(result['extra'])} extra, "
                f"{len(result['different'])} different; `riverlight index rebuild` reads the log again"
            )
        emit(result, text, output)
    if not result["equal"]:
        raise typer.Exit(EXIT_FAILED)


@app.command("snapshot")
def snapshot_command(output: OutputOption = OutputFormat.text) -> None:
    """Write a snapshot now, so that the next start has little to read."""
    with errors():
        result = call_until_done(load_settings(), "/v1/index/snapshot")
        emit(result, f"snapshot of {result['items']} items: {result['path']}", output)


@app.command("rebuild")
def rebuild_command(
    everything: bool = typer.Option(
        False, "--all", help="Embed every item again, not only those that the current model has no vector of."
    ),
    output: OutputOption = OutputFormat.text,
) -> None:
    """Build the index anew: embed what the current model has no vector of, then read the log from its beginning.

    Searches are answered by the old index until the new one has caught up. After a change of the encoder: restart
    (`riverlight down`, `riverlight up`), then rebuild.
    """
    from infra.reembed import reembed

    console = progress_console()
    with errors():
        settings = load_settings()
        embedded = reembed(
            settings, api_url(settings), bootstrap_of(settings, None), everything=everything, progress=console.print
        )
        result = call_until_done(settings, "/v1/index/rebuild")
        emit(
            {**result, "embedded": embedded.published, "failed": embedded.failed},
            f"{embedded.published} items embedded again, {len(embedded.failed)} could not be; "
            f"the index was read from the log: {result['items']} items",
            output,
        )

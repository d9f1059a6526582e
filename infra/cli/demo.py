"""`riverlight demo`."""

from typing import Annotated

import typer

from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console


def demo_command(
    images: Annotated[int, typer.Option(min=20, help="Images to upload, at most.")] = 400,
    paced: Annotated[
        int, typer.Option(min=1, help="Of these, sent at 5 a second, each timed until a search finds it.")
    ] = 100,
    people: Annotated[int, typer.Option(min=1, help="Simulated people who look at the answers.")] = 5,
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the system running afterwards.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Start the system, play real images through it, and show what happened.

    Uploads, searches, clicks, hides, deletes, sends broken input, recommends films. Writes `<home>/demo/report.json`
    and a contact sheet. Running it again is quick: data and packages stay, the last run's images are deleted first.
    """
    from infra.demo.report import render
    from infra.demo.run import DemoOptions, run_demo

    with errors():
        options = DemoOptions(images=images, paced=min(paced, images), people=people, keep_running=keep_running)
        report = run_demo(load_settings(), options, progress_console())
        emit(report.to_json(), render(report), output)

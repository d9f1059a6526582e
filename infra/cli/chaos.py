"""`riverlight chaos`: prove that nothing is lost and nothing is applied twice, while things are broken on purpose."""

from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.errors import InvalidInput, NotFound
from core.settings import load_settings
from infra.cli.output import EXIT_FAILED, OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    from infra.chaos.result import GoalResult

app = typer.Typer(
    no_args_is_help=True,
    help="Break things on purpose and count what was lost or applied twice. docs/reliability.md",
)


class Kind(StrEnum):
    """A broker that can be started here."""

    kafka = "kafka"
    embedded = "embedded"


@app.command("list")
def list_command(output: OutputOption = OutputFormat.text) -> None:
    """Explain each goal: what is done to whom, and what must hold.

    Example: `riverlight chaos list`
    """
    from infra.chaos.goals import GOALS

    table = Table("goal", "what is done", "what must hold", show_lines=True)
    for goal in GOALS:
        limits = f"\n[dim]embedded broker: {goal.embedded}[/]" if goal.embedded else ""
        table.add_row(goal.name, f"[bold]{goal.title}.[/] {goal.what}", goal.promise + limits)
    found = [
        {
            "goal": goal.name,
            "title": goal.title,
            "what": goal.what,
            "promise": goal.promise,
            "not_promised_on_embedded_because": goal.embedded or None,
        }
        for goal in GOALS
    ]
    emit(found, table, output)


@app.command("run")
def run_command(
    goal: Annotated[list[str] | None, typer.Option("--goal", help="A goal, e.g. G1; can be given again.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All goals.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides events and faults; the same seed repeats a run.")] = 7,
    short: Annotated[bool, typer.Option("--short", help="Fewer events and faults: seconds, not minutes.")] = False,
    broker: Annotated[Kind, typer.Option(help="Which broker to start.")] = Kind.kafka,
    uploads: Annotated[
        bool, typer.Option(help="Let uploads take part, with the real encoder on Ray Serve (needs 3 GB).")
    ] = True,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Play goals on a broker and worker processes of their own; the running system is not touched.

    Writes `<home>/chaos/<goal>-<seed>-<broker>.json` and ends with 1 if a promise was not kept. What was built for a
    goal whose promise broke (data, logs) stays in `<home>/chaos/stages`.

    Examples:

    * `riverlight chaos run --goal G1 --seed 7`

    * `riverlight chaos run --goal G5 --goal G6 --short`

    * `riverlight chaos run --all --broker embedded`
    """
    from infra.chaos.goals import GOALS, named
    from infra.chaos.result import write_result
    from infra.chaos.run import Options, run_goal
    from infra.chaos.stage import SERVING

    with errors():
        if everything == bool(goal):
            raise InvalidInput("say which goals: --goal G1 (as often as you like), or --all; `riverlight chaos list`")
        chosen = list(GOALS) if everything else named(goal or [])
        settings = load_settings()
        folder = settings.home / "chaos"
        options = Options(settings, folder / "stages", seed, short, SERVING if uploads else None)
        results: list[GoalResult] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[last]}"), console=progress_console()) as bar:
            for one in chosen:
                task = bar.add_task(one.name, total=1.0, last="")
                watched = replace(options, report=partial(_show_last, bar, task), progress=partial(_show, bar, task))
                result = run_goal(one, str(broker), watched)
                bar.update(task, completed=1.0, last="")
                write_result(result, folder)
                results.append(result)
                lines = "\n".join((_line(result), *_reasons(result)))
                bar.console.print(lines, markup=False, highlight=False, soft_wrap=True)
        emit(results, _table(results, folder), output)
        if any(not result.kept and not result.skipped for result in results):
            raise typer.Exit(EXIT_FAILED)


@app.command("report")
def report_command(
    page: Annotated[Path, typer.Option(help="Page with the marks between which the tables go.")] = Path(
        "docs/reliability.md"
    ),
    results: Annotated[
        Path | None, typer.Option(help="Folder with the documents of `chaos run`. Default: `<home>/chaos`.")
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Write what was found into docs/reliability.md.

    Example: `riverlight chaos report`
    """
    from infra.chaos.goals import GOALS
    from infra.chaos.report import section, write_section
    from infra.chaos.result import read_results

    with errors():
        folder = results or load_settings().home / "chaos"
        found = read_results(folder)
        if not found:
            raise NotFound(f"there are no results in {folder}; `riverlight chaos run --all` makes them")
        write_section(page, section(found, GOALS))
        broken = [result.file_name for result in found if not result.kept and not result.skipped]
        text = f"{len(found)} results written into {page}" + (f"; broken: {', '.join(broken)}" if broken else "")
        emit({"page": page, "results": len(found), "broken": broken}, text, output)


def _show_last(bar: Progress, task: TaskID, message: str) -> None:
    bar.update(task, last=message[:60])


def _show(bar: Progress, task: TaskID, share: float) -> None:
    bar.update(task, completed=share)


def _line(result: "GoalResult") -> str:
    if result.skipped:
        return f"{result.goal} {result.broker}: not run ({result.skipped})"
    recover = "" if result.recover_s is None else f", recovered in {result.recover_s:.1f} s"
    verdict = "promise kept" if result.kept else "PROMISE BROKEN"
    return (
        f"{result.goal} {result.broker}: {result.events:,} events, {result.lost} lost, {result.twice} twice, "
        f"{result.wrong} wrong, {result.unexpected} unexpected, {result.dead_lettered} dead-lettered"
        f"{recover}: {verdict}"
    )


def _table(results: "list[GoalResult]", folder: Path) -> Table:
    names = ("goal", "broker", "events", "lost", "twice", "wrong", "unexpected", "dead letters", "recover s", "promise")
    table = Table(*names, caption=f"documents in {folder}")
    for result in results:
        counts = (result.events, result.lost, result.twice, result.wrong, result.unexpected, result.dead_lettered)
        recover = "" if result.recover_s is None else f"{result.recover_s:.1f}"
        promise = "not run" if result.skipped else "[green]kept[/]" if result.kept else "[bold red]broken[/]"
        table.add_row(result.goal, result.broker, *(f"{count:,}" for count in counts), recover, promise)
    return table


def _reasons(result: "GoalResult") -> list[str]:
    """Return what broke a promise: its own words, then some examples of each finding."""
    examples = [f"{what}: {text}" for what, texts in result.examples.items() for text in texts[:3]]
    return [f"  {reason}" for reason in (*result.broken, *examples)]

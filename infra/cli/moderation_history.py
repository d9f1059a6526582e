"""`riverlight moderation backtest|sweep|undo|sweeps`: another policy, tried on stored posts, applied, taken back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.clock import SystemClock
from core.moderation import ACTIONS
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    from models.moderation.policy.backtest import Backtest
    from models.moderation.policy.proportions import Proportion
    from storage.moderation import ModerationStore, Sweep

PolicyOption = Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy to try or apply, YAML.")]
DaysOption = Annotated[float, typer.Option("--days", min=0.01, help="Posts of the last days.")]
ByOption = Annotated[str, typer.Option("--by", help="Who answers for it; kept in the audit log.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backtest")(backtest_command)
    app.command("sweep")(sweep_command)
    app.command("undo")(undo_command)
    app.command("sweeps")(sweeps_command)


def backtest_command(policy: PolicyOption, days: DaysOption = 30.0, output: OutputOption = OutputFormat.text) -> None:
    """Show what a policy would have done with stored posts, before it acts: changes, precision, appeals, impressions.

    Scores are those that were given; nothing is scored again and nothing changes.

    Example: `riverlight moderation backtest --policy stricter.yaml --days 30`
    """
    with errors():
        from infra.moderation_history import rows
        from models.moderation.policy import load_policy
        from models.moderation.policy.backtest import backtest

        tried = load_policy(policy)
        with _store() as store, bar("posts") as advance:
            found = backtest(tried, _counted(rows(store, _since(days)), advance))
        emit(found, _backtest(found), output)


def sweep_command(
    policy: PolicyOption,
    by: ByOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")] = "",
    sweep_id: Annotated[
        str, typer.Option("--id", help="Names the sweep; the same again does its next stage. Left out: a new one.")
    ] = "",
    stages: Annotated[str, typer.Option("--stages", help="Shares of the posts, one a call.")] = "0.01,0.1,1",
    days: DaysOption = 30.0,
    at_most: Annotated[
        int, typer.Option("--at-most", min=1, help="Decisions of a stage; more pause the sweep.")
    ] = 10_000,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Apply a policy to stored posts that a machine decided, one stage a call: look at it before the next.

    What people decided stays. `riverlight moderation undo ID` takes all of it back.

    Example: `riverlight moderation sweep --policy stricter.yaml --by ada --reason "new threshold for hate"`
    """
    with errors():
        from infra.moderation_history import stages_of, sweep_stage
        from models.moderation.policy import load_policy

        tried, clock = load_policy(policy), SystemClock()
        name = sweep_id or f"sweep-{clock.now():%Y%m%d-%H%M%S}"
        with _store() as store, bar("posts") as advance:
            if store.sweep(name) is None:
                store.put_policy(tried.version, tried.model_dump_json())
                store.start_sweep(name, tried.version, stages_of(stages), by, reason)
            swept = sweep_stage(store, name, tried, clock, since=_since(days), by=by, at_most=at_most, advance=advance)
        done = swept.sweep.state == "done"
        told = (
            f"{name}: {swept.decided} decisions over {swept.looked_at} posts"
            + (f", {swept.moved} posts were decided elsewhere meanwhile" if swept.moved else "")
            + ("; done" if done else f"; the same command with --id {name} does stage {swept.sweep.stage + 1}")
        )
        emit(swept, told, output)


def undo_command(
    sweep_id: Annotated[str, typer.Argument(metavar="ID")],
    by: ByOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")],
    output: OutputOption = OutputFormat.text,
) -> None:
    """Take a sweep back: what was in force before comes into force again. Posts decided again since stay.

    Example: `riverlight moderation undo sweep-20261122-101500 --by ada --reason "too many mistakes"`
    """
    with errors(), _store() as store:
        undone = 0
        with bar("decisions") as advance:
            while True:
                step = store.undo_sweep(sweep_id, by, reason)
                undone += step.undone
                advance(step.undone)
                if not step.left:
                    break
        emit({"sweep_id": sweep_id, "undone": undone}, f"{sweep_id}: {undone} decisions taken back", output)


def sweeps_command(output: OutputOption = OutputFormat.text) -> None:
    """List sweeps, the newest first."""
    with errors(), _store() as store:
        found = store.sweeps()
        emit(found, _sweeps(found) if found else "there were no sweeps", output)


@contextmanager
def _store() -> "Iterator[ModerationStore]":
    from storage.catalogue import Catalogue
    from storage.moderation import ModerationStore

    settings = load_settings()
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        yield ModerationStore(catalogue.database)
    finally:
        catalogue.close()


@contextmanager
def bar(what: str) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.completed:,.0f} {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress_console(), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done: progress.advance(task, done)


def _counted(rows: Iterator[Any], advance: Callable[[int], None]) -> Iterator[Any]:
    for number, row in enumerate(rows, 1):
        if number % 1_000 == 0:
            advance(1_000)
        yield row


def _since(days: float) -> datetime:
    return SystemClock().now() - timedelta(days=days)


def _backtest(found: "Backtest") -> RenderableType:
    changes = Table(title=f"{found.posts:,} posts: now (rows), and under {found.policy} {found.policy_version}")
    changes.add_column("now")
    for action in ACTIONS:
        changes.add_column(action, justify="right")
    for now in ACTIONS:
        row = [found.changes[now][then] for then in ACTIONS]
        changes.add_row(now, *(f"{number:,}" for number in row))
    classes = Table(title="Acted upon (review or more), by class; precision of enforcing from what people said")
    for column in ("class", "now", "then", "precision now", "precision then", "found now", "found then"):
        classes.add_column(column, justify="left" if column == "class" else "right")
    for harm, counts in found.by_class.items():
        classes.add_row(
            harm,
            f"{counts.acted_now['review']:,}",
            f"{counts.acted['review']:,}",
            _share(counts.precision_now["enforce"]),
            _share(counts.precision["enforce"]),
            _share(counts.found_now),
            _share(counts.found),
        )
    seen = found.impressions
    lines = [
        f"decided by people, untouched: {found.decided_by_people:,}",
        f"reviews: {found.review_load_now:,} now, {found.review_load:,} then",
        f"appeals decided: {found.appeals.reversed} reversed, of which it restricts "
        f"{found.appeals.reversed_restricted} again; {found.appeals.upheld} upheld",
        f"impressions prevented: {seen.prevented:,.0f} of {seen.counted:,}, of harmful posts "
        f"{seen.harmful_prevented:,.0f} of {seen.harmful:,}, of harmless ones {seen.harmless_prevented:,.0f}",
    ]
    if found.unknown_rules:
        lines.append(
            "rules that could not be asked: " + ", ".join(f"{n} ({c})" for n, c in found.unknown_rules.items())
        )
    if found.examples:
        lines.append(
            "examples: " + "; ".join(f"{change}: {', '.join(ids[:3])}" for change, ids in found.examples.items())
        )
    return Group(changes, classes, *lines)


def _share(found: "Proportion") -> str:
    if found.share is None:
        return "–"
    return f"{found.share:.0%} of {found.n} ({found.low:.0%}–{found.high:.0%})"


def _sweeps(found: "list[Sweep]") -> RenderableType:
    table = Table()
    for column in ("sweep", "policy", "stage", "state", "decisions", "taken back", "by", "reason"):
        table.add_column(column)
    for one in found:
        stage = f"{one.stage + 1} of {len(one.stages)}"
        table.add_row(
            one.sweep_id, one.policy_version, stage, one.state, str(one.decisions), str(one.undone), one.started_by,
            one.reason,
        )  # fmt: skip
    return table

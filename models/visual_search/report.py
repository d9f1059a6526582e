"""Showing an evaluation or a training to a person: tables and a progress bar."""

from contextlib import AbstractContextManager

from rich.console import Console
from rich.table import Table

from models.progress import Report, progress_bars
from models.visual_search.evaluate import Evaluation, TaskScore

COLUMNS = ("recall@1", "recall@10", "mrr", "map", "precision@10", "ndcg@10")


def evaluation_tables(evaluation: Evaluation, columns: tuple[str, ...] = COLUMNS) -> list[Table]:
    """Return a table a task: a row a system, then the model's gain over the frozen baseline with its 95 % interval."""
    return [_table(task, columns) for task in evaluation.tasks]


def _table(task: TaskScore, columns: tuple[str, ...]) -> Table:
    unanswerable = f"; {task.without_relevant} without a relevant candidate" if task.without_relevant else ""
    table = Table(title=f"{task.task}: {task.question}", caption=f"{task.queries} queries{unanswerable}")
    table.add_column("system")
    for column in columns:
        table.add_column(column, justify="right")
    for system in task.systems:
        table.add_row(system.system, *(f"{system.values[column]:.3f}" for column in columns))
    gains = [task.gains[column] for column in columns]
    table.add_row("gain", *(f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" for gain in gains))
    return table


def evaluation_markdown(evaluation: Evaluation, columns: tuple[str, ...] = COLUMNS) -> str:
    """Return the same tables as Markdown, for the model card; intervals are those of each system's own mean."""
    lines: list[str] = []
    for task in evaluation.tasks:
        lines += [
            f"### {task.task}",
            "",
            f"{task.question[:1].upper()}{task.question[1:]}; {task.queries} queries.",
            "",
        ]
        lines += ["| system | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for system in task.systems:
            cells = [
                f"{system.values[name]:.3f} ({system.intervals[name][0]:.3f}–{system.intervals[name][1]:.3f})"
                for name in columns
            ]
            lines.append(f"| {system.system} | " + " | ".join(cells) + " |")
        cells = [f"{task.gains[n].value:+.3f} ({task.gains[n].low:+.3f} to {task.gains[n].high:+.3f})" for n in columns]
        lines += ["| model − frozen | " + " | ".join(cells) + " |", ""]
    return "\n".join(lines)


def progress_bar(console: Console) -> AbstractContextManager[Report]:
    """Return a `Report` that draws one bar a stage on the console."""
    return progress_bars(console)

"""Showing a ladder to a person: tables and a plot."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.progress import Report, progress_bars
from models.recommendation.ladder import Ladder
from models.recommendation.search import OBJECTIVE, Trial

COLUMNS = {
    "HR@10": "hr@10",
    "nDCG@10": "ndcg@10",
    "mAP@10": "map@10",
    "covers": "coverage@10",
    "novel": "novelty@10",
    "alike": "similarity@10",
}


def ladder_table(ladder: Ladder) -> Table:
    """Return a row a model: means, the interval of nDCG@10, its gain over the reference, seconds to fit."""
    table = Table(
        title=f"{ladder.protocol}: {ladder.users} users, {ladder.items} items, {ladder.train_pairs} relevant pairs",
        caption=f"95 %: bootstrap interval of nDCG@10 over users. gain: nDCG@10 over {ladder.reference}, * where the "
        "paired interval excludes 0. alike: mean similarity within a list, low is diverse.",
        box=None,  # it fits 80 columns so
        padding=(0, 0, 0, 1),
    )
    table.add_column("model", no_wrap=True)
    for column in (*COLUMNS, "95 %", "gain", "fit s"):
        table.add_column(column, justify="right", no_wrap=True)
    for rung in ladder.rungs:
        mean, low, high = rung.gain["ndcg@10"]
        gain = f"{mean:+.3f}{'*' if low > 0 or high < 0 else ' '}" if rung.name != ladder.reference else "– "
        cells = [f"{rung.values[metric]:.3f}" if metric in rung.values else "–" for metric in COLUMNS.values()]
        low, high = rung.intervals["ndcg@10"]
        table.add_row(rung.name, *cells, f"{low:.3f}–{high:.3f}", gain, f"{rung.fit_s:.1f}")
    return table


def trials_table(trials: Sequence[Trial], *, most: int = 10) -> Table:
    """Return the best trials of a search, best first; `#` is when each was tried."""
    numbered = sorted(enumerate(trials, start=1), key=lambda one: (-one[1].value, one[0]))
    title = f"{len(trials)} settings tried on the validation split, best first"
    table = Table(
        title=title,
        title_justify="left",
        caption=f"the best {most}" if len(trials) > most else None,
        min_width=len(title),
        padding=(0, 0, 0, 1),
    )
    names = list(trials[0].changes)
    for column in ("#", *names, OBJECTIVE):
        table.add_column(column, justify="right")
    for number, trial in numbered[:most]:
        table.add_row(str(number), *(str(trial.changes[name]) for name in names), f"{trial.value:.4f}")
    return table


def group_tables(ladder: Ladder, name: str) -> list[Table]:
    """Return a table a column of the user table: nDCG@10 of one model by group."""
    tables = []
    for column, scores in ladder.rung(name).groups.items():
        table = Table(title=f"{name}: nDCG@10 by {column}")
        for title in (column, "users", "nDCG@10", "95 %"):
            table.add_column(title, justify="left" if title == column else "right")
        for score in scores:
            table.add_row(score.group, str(score.users), f"{score.mean:.3f}", f"[{score.low:.3f}, {score.high:.3f}]")
        tables.append(table)
    return tables


def plot_ladder(ladder: Ladder, path: Path) -> Path:
    """Write a bar chart of nDCG@10 and HR@10 with intervals as PNG."""
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(9, 0.45 * len(ladder.rungs) + 1.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = [rung.name for rung in ladder.rungs]
    for panel, metric, colour in zip(panels, ("ndcg@10", "hr@10"), ("#2a6fbb", "#4c9a6a"), strict=True):
        means = [rung.values[metric] for rung in ladder.rungs]
        lows = [mean - rung.intervals[metric][0] for mean, rung in zip(means, ladder.rungs, strict=True)]
        highs = [rung.intervals[metric][1] - mean for mean, rung in zip(means, ladder.rungs, strict=True)]
        panel.barh(names, means, xerr=[lows, highs], color=colour, ecolor="#555555", capsize=2)
        panel.set_xlabel(f"{metric} (95 % interval)")
        panel.axvline(ladder.rung(ladder.reference).values[metric], color="#999999", linewidth=0.8, linestyle="--")
    panels[0].invert_yaxis()
    figure.suptitle(f"{ladder.protocol}, {ladder.users} users, {ladder.items} items")
    figure.savefig(path, dpi=120)
    return path


def progress_bar(console: Console) -> AbstractContextManager[Report]:
    """Return a `Report` that draws one bar a stage on the console, and the finished ones no more."""
    return progress_bars(console, lasting=("models",))

"""Turns what benchmarks found into a table for people, and into docs/benchmarks.md with its plots."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

HEAD = """# Benchmarks

Written by `riverlight bench report` from what `make bench` measured; do not edit. Every row names the command that
makes it again. A figure is the median of the repetitions, which are given beside it; ratios are to the baseline taken
in turns within the same run, above 1 where ours is better. Everything, load generators too, ran on the one machine
named with each table.
"""
_COMMAND = re.compile(r"^`riverlight bench run ([\w-]+)`", re.MULTILINE)


def table(documents: Sequence[dict[str, Any]]) -> Table:
    """Return the summary a person reads after a run."""
    shown = Table(title="benchmarks", show_lines=False)
    for column in ("benchmark", "measured", "median", "repetitions", "bar"):
        shown.add_column(column, overflow="fold")
    for document in documents:
        bars = {bar["measurement"]: bar for bar in document["bars"]}
        for position, measurement in enumerate(document["measurements"]):
            name = document["name"] if position == 0 else ""
            shown.add_row(name, *_cells(measurement, bars.get(measurement["name"])))
    return shown


def write_page(documents: Sequence[dict[str, Any]], page: Path, order: Sequence[str]) -> list[Path]:
    """Write the page and its plots (in `<page folder>/images/`); return every file written.

    Args:
        order: names of all benchmarks, as they come on the page. One without a document keeps its section of before:
            who measures one again need not measure all of them.
    """
    images = page.parent / "images"
    written = [page]
    sections = _sections(page)
    for document in documents:
        parts = [_section(document)]
        for number, curve in enumerate(document["curves"], start=1):
            image = images / f"bench-{document['name']}-{number}.png"
            _plot(curve, image)
            written.append(image)
            parts.append(f"![{curve['title']}](images/{image.name})\n")
        sections[document["name"]] = "\n".join(parts)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join([HEAD, *(sections[name] for name in order if name in sections)]), encoding="utf-8")
    return written


def _sections(page: Path) -> dict[str, str]:
    """Return the sections of a page that is there, by the name of the benchmark each is about."""
    if not page.exists():
        return {}
    parts = re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    named = ((_COMMAND.search(part), part) for part in parts)
    return {match[1]: part.rstrip("\n") + "\n" for match, part in named if match}


def figure(value: float | None) -> str:
    """Return a number with three significant digits, thousands grouped."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _section(document: dict[str, Any]) -> str:
    machine = document["machine"]
    bars = {bar["measurement"]: bar for bar in document["bars"]}
    lines = [
        f"## {document['title']}",
        "",
        f"`{document['command']}` · {document['taken_at'][:10]} · {machine['cpus']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']:g} GiB, Python {machine['python']} · load average before "
        f"{document['load_average_before']:g}"
        + (" · **a quick run: the figures are rough**" if document["quick"] else ""),
        "",
        "| measured | median | repetitions | bar |",
        "| --- | ---: | --- | --- |",
    ]
    lines += [
        f"| {' | '.join(_cells(measurement, bars.get(measurement['name'])))} |"
        for measurement in document["measurements"]
    ]
    if document["comparisons"]:
        lines += ["", "| measured | against | ratio |", "| --- | --- | ---: |"]
        lines += [
            f"| {found['measurement']} | {found['baseline']} | {figure(found['ratio'])}× |"
            for found in document["comparisons"]
        ]
    for curve in document["curves"]:
        lines += ["", *_curve_table(curve)]
    lines += ["", *(f"- {note}" for note in document["notes"]), ""]
    return "\n".join(lines)


def _cells(measurement: dict[str, Any], bar: dict[str, Any] | None) -> list[str]:
    verdict = ""
    if bar is not None:
        sign = "≥" if measurement["better"] == "higher" else "≤"
        verdict = f"{sign} {figure(bar['limit'])}: {'met' if bar['met'] else 'NOT met'}"
    samples = ", ".join(figure(sample) for sample in measurement["samples"])
    unit = measurement["unit"]
    return [measurement["name"], f"{figure(measurement['median'])} {unit}".strip(), samples, verdict]


def _curve_table(curve: dict[str, Any]) -> list[str]:
    heads = [f"{curve['x_label']}", *(f"{name}" for name in curve["series"])]
    rows = [f"{curve['title']} ({curve['y_label']}):", "", f"| {' | '.join(heads)} |", "| ---: " * len(heads) + "|"]
    for position, x in enumerate(curve["x"]):
        cells = [figure(x), *(figure(values[position]) for values in curve["series"].values())]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _plot(curve: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4), layout="constrained")
    axes = drawing.add_subplot()
    for name, values in curve["series"].items():
        points = [(x, y) for x, y in zip(curve["x"], values, strict=True) if y is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    if curve["x"] and min(curve["x"]) > 0 and max(curve["x"]) / min(curve["x"]) >= 20:
        axes.set_xscale("log")
    shown = [y for values in curve["series"].values() for y in values if y]
    if shown and max(shown) / min(shown) >= 30:
        axes.set_yscale("log")
    axes.set_title(curve["title"], fontsize=11)
    axes.set_xlabel(curve["x_label"])
    axes.set_ylabel(curve["y_label"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=110)

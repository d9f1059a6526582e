"""Showing evaluations of harm models to a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from core.moderation import HARM_CLASSES
from models.moderation.data import PARTS
from models.moderation.evaluate import READINGS, ClassFigures
from models.moderation.evaluate_ladder import Ladder, mean_roc

_SHORT = {"violence": "viol.", "nudity": "nudity", "hate": "hate", "self_harm": "s-harm", "spam": "spam"}


def ladder_tables(ladder: Ladder) -> list[Table]:
    """Return a table a measure: a row a variant, a column a part and class; by the text alone."""
    columns = [
        (part, harm)
        for part in PARTS
        for harm in HARM_CLASSES
        if any(_value(rung.bare, part, harm, "roc") is not None for rung in ladder.rungs)
    ]
    tables = []
    for measure, title in (("roc", "ROC area"), ("pr", "PR area")):
        table = Table(
            title=f"{title}: {ladder.folds} folds, {'grouped' if ladder.grouped else 'not grouped'}, by the text alone",
            padding=(0, 0, 0, 1),
        )
        table.add_column("variant", no_wrap=True)
        for part, harm in columns:
            table.add_column(f"{part}\n{_SHORT[harm]}", justify="right", no_wrap=True)
        for column in ("mean", "+sim.", "params", "fit s", "ms/post"):
            table.add_column(column, justify="right", no_wrap=True)
        for rung in ladder.rungs:
            table.add_row(
                rung.name,
                *(_number(_value(rung.bare, part, harm, measure)) for part, harm in columns),
                _number(mean_roc(rung.bare)) if measure == "roc" else "",
                _number(mean_roc(rung.full)) if measure == "roc" else "",
                f"{rung.parameters:,}",
                f"{rung.fit_s:.1f}",
                f"{rung.post_ms:.3f}",
            )
        tables.append(table)
    return [*tables, _readings_table(ladder)]


def _readings_table(ladder: Ladder) -> Table:
    """Return ROC areas on the scored answers by other readings of their labels."""
    table = Table(title="ROC area on the scored answers, by other readings of their labels")
    table.add_column("variant", no_wrap=True)
    columns = [(reading, harm) for reading in READINGS for harm in HARM_CLASSES if harm != "spam"]
    for reading, harm in columns:
        table.add_column(f"{reading}\n{_SHORT[harm]}", justify="right")
    for rung in ladder.rungs:
        table.add_row(rung.name, *(_number(_value(rung.bare, reading, harm, "roc")) for reading, harm in columns))
    return table


def transfer_table(found: Mapping[str, Mapping[str, Mapping[str, ClassFigures]]]) -> Table:
    """Return ROC areas on texts of a kind that was not trained on."""
    table = Table(title="ROC area on a kind of text that was not trained on")
    table.add_column("held out")
    table.add_column("variant")
    shown = [h for h in HARM_CLASSES if any(f.get(h) for by in found.values() for f in by.values())]
    for harm in shown:
        table.add_column(harm, justify="right")
    for title, variants in found.items():
        for name, figures in variants.items():
            table.add_row(title, name, *(_number(figures[h].roc if h in figures else None) for h in shown))
    return table


def training_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return what a training measured: held-out areas by part, and what it says of posts in other languages."""
    held = Table(title="Held out, by the text alone: ROC area / PR area")
    held.add_column("texts")
    for harm in HARM_CLASSES:
        held.add_column(harm, justify="right")
    rows = {**metrics["held_out"], "own posts, eight languages": metrics["own_test"]["classes"]}
    for name, figures in rows.items():
        cells = [f"{_number(f['roc'])} / {_number(f['pr'])}" if (f := figures.get(h)) else "–" for h in HARM_CLASSES]
        held.add_row(name, *cells)
    edgy = metrics["edgy"]
    languages = Table(
        title="Posts written for this project, never trained on",
        caption=f"benign but edgy sentences: {edgy['any']['from_0.5']:.1%} of {edgy['texts']} are scored 0.5 or more",
    )
    for column in ("language", "posts", "ROC area", "found at .5", "false alarms at .5", "edgy alarms at .5"):
        languages.add_column(column, justify="left" if column == "language" else "right")
    for language, one in metrics["own_test"]["languages"].items():
        alarms = edgy["by"]["language"].get(language, {}).get("from_0.5")
        languages.add_row(
            language,
            str(one["texts"]),
            _number(one["roc"]),
            _number(one["found_at_0.5"]),
            _number(one["false_alarms_at_0.5"]),
            _number(alarms),
        )
    return [held, languages]


def blending_table(found: Mapping[str, Any]) -> Table:
    """Return what gradient blending changed, beside training without it."""
    table = Table(title="Gradient blending: a modality that is easy to learn by heart, and means nothing")
    for column in ("modality", "overfitting O", "generalisation G", "O / G", "weight"):
        table.add_column(column, justify="left" if column == "modality" else "right")
    for name, one in found["progress"].items():
        ratio = one["ratio"]
        table.add_row(
            name,
            _number(one["overfitting"]),
            _number(one["generalisation"]),
            "∞" if ratio is None or ratio > 1e6 else f"{ratio:.2f}",
            _number(one["weight"]),
        )
    plain, blended = found["plain"], found["blended"]
    table.caption = (
        f"held-out loss {plain['loss']:.3f} → {blended['loss']:.3f}, mean ROC area {plain['roc']:.3f} → "
        f"{blended['roc']:.3f} (text alone {found['text_alone']['roc']:.3f})"
    )
    return table


def labels_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Return tables of an evaluation on somebody's labels: classes, thresholds, languages, groups."""
    classes = Table(title=f"{figures['posts']} posts, {figures['near_duplicates']} of them near-duplicates of others")
    for column in ("class", "harmful", "ROC area", "95 %", "PR area", "95 %", "chance", "ECE", "unknown"):
        classes.add_column(column, justify="left" if column == "class" else "right")
    for harm, one in figures["classes"].items():
        chance = one["harmful"] / one["examples"] if one["examples"] else None
        ece = figures["calibration"].get(harm, {}).get("ece")
        classes.add_row(
            harm,
            f"{one['harmful']} of {one['examples']}",
            _number(one["roc"]),
            _interval(one["roc_interval"]),
            _number(one["pr"]),
            _interval(one["pr_interval"]),
            _number(chance),
            _number(ece),
            str(figures["unknown"][harm]),
        )
    thresholds = Table(title="Thresholds: precision / recall at each, and the lowest for a precision")
    shown = ("0.2", "0.5", "0.8", "0.95")
    for column in ("class", *(f"from {value}" for value in shown), "for .9", "for .99"):
        thresholds.add_column(column, justify="left" if column == "class" else "right")
    for harm, table in figures["thresholds"].items():
        cells = [
            f"{_number(table['thresholds'][value]['precision'])} / {_number(table['thresholds'][value]['recall'])}"
            for value in shown
        ]
        thresholds.add_row(harm, *cells, *(_number(table["for_precision"][wanted]) for wanted in ("0.9", "0.99")))
    tables = [classes, thresholds]
    for name in ("languages", "groups"):
        if figures[name]:
            tables.append(_group_table(name, figures[name]))
    return tables


def _group_table(name: str, found: Mapping[str, Any]) -> Table:
    table = Table(title=f"By {name.removesuffix('s')}: ROC area, where there are examples of both sides")
    for column in (name.removesuffix("s"), "posts", *HARM_CLASSES, "false alarms"):
        table.add_column(column, justify="left" if column == name.removesuffix("s") else "right")
    for value, one in found.items():
        cells = [_number(one["classes"].get(harm, {}).get("roc")) for harm in HARM_CLASSES]
        alarms = f"{_number(one['false_alarms_at_0.5'])} of {one['harmless']}"
        table.add_row(value, str(one["posts"]) + (" (few)" if one["few"] else ""), *cells, alarms)
    return table


def _value(figures: Mapping[str, Mapping[str, ClassFigures]], part: str, harm: str, measure: str) -> float | None:
    one = figures.get(part, {}).get(harm)
    return None if one is None else getattr(one, measure)


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _interval(values: Sequence[float] | None) -> str:
    return "–" if values is None or values[0] is None else f"{values[0]:.3f}–{values[1]:.3f}"

"""`riverlight drift`: how far what models are asked and answer is from what they learned from."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from core.errors import NotFound, Unavailable
from core.settings import Settings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors
from infra.cli.running import call
from models.moderation_service import MODERATOR_PREFIX

app = typer.Typer(
    no_args_is_help=True,
    help="Drift: how far what models are asked and answer is from what they learned from.",
)

_STYLES = {"drift": "bold red", "watch": "yellow", "same": "green", "too-few": "dim"}
_ORDER = ("drift", "watch", "same", "too-few")


@app.command("show")
def show_command(
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the indexes of all features into this PNG.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show each watched feature of the running system: how far from its reference, what moved most, and a verdict.

    PSI: population stability index; 0.1 is worth a look, 0.25 another distribution. KS: the Kolmogorov-Smirnov
    distance of numbers. Shift: of the mean of vectors, in standard deviations. All of the last hour, less what is
    expected by chance; of one replica where there are several.
    """
    with errors():
        settings = load_settings()
        status = _status(settings)
        report = status["report"]
        if report is None:
            why = "too few posts were scored since the moderator started: there is nothing to compare"
            raise Unavailable(status["problem"] or why)
        if plot is not None:
            draw(report, plot)
        emit(status, _shown(status, settings.serving.moderator_replicas), output)


@app.command("accept")
def accept_command(output: OutputOption = OutputFormat.text) -> None:
    """Make the last hour the reference: what is compared from now on are changes since.

    For traffic that is rightly otherwise than the training data. The reference is kept for restarts and other replicas,
    and ends with the model's version; a model that learned from such traffic is better.
    """
    with errors():
        settings = load_settings()
        status = _status(settings, "POST")
        report = status["report"]
        drifted = sum(one["verdict"] == "drift" for one in report["features"])
        said = f"{report['version']}: {report['rows']:,} posts of the last {report['window_s'] / 60:g} minutes are the "
        emit(status, Text(f"{said}reference now; of {len(report['features'])} features {drifted} had drifted"), output)


def _status(settings: Settings, method: str = "GET") -> dict[str, Any]:
    if not settings.moderation.enabled:
        raise NotFound("moderation is off (moderation.enabled); nothing else is watched for drift yet")
    return call(settings, method, f"{MODERATOR_PREFIX}/drift", timeout_s=10.0)


def _shown(status: dict[str, Any], replicas: int) -> Group:
    report = status["report"]
    lines = [Text(f"{report['version']}: {report['rows']:,} posts of the last {report['window_s'] / 60:g} minutes")]
    if replicas > 1:
        lines.append(Text(f"as one of {replicas} replicas saw them; the dashboard Drift has all"))
    if report["learning"] is not None:
        lines.append(
            Text(
                f"{report['learning']:,} of the first {report['first']:,} posts are kept: they become the "
                "reference of what training gave none for"
            )
        )
    if status["problem"]:
        lines.append(Text(f"problem: {status['problem']}", style="red"))
    return Group(*lines, _table(report["features"])) if report["features"] else Group(*lines)


def _table(features: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("feature", "verdict", "PSI", "KS", "shift", "missing", "reference", "what moved most"):
        table.add_column(
            name, justify="right" if name in ("PSI", "KS", "shift", "missing") else "left", overflow="fold"
        )
    for one in sorted(features, key=lambda found: (_ORDER.index(found["verdict"]), -(found["psi"] or 0.0))):
        table.add_row(
            f"{one['kind']} {one['name']}",
            Text(one["verdict"], style=_STYLES[one["verdict"]]),
            *(_number(one[name]) for name in ("psi", "ks", "shift")),
            "" if one["missing"] is None else f"{one['missing']:.0%}",
            one["source"],
            one["moved"],
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the population stability index of each feature, with the limits, as a PNG."""
    from matplotlib.figure import Figure

    known = [one for one in report["features"] if one["psi"] is not None]
    known.sort(key=lambda one: float(one["psi"]))
    figure = Figure(figsize=(8.0, 1.6 + 0.26 * max(len(known), 1)), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{one['kind']} {one['name']}" for one in known]
    colours = [{"drift": "#c05621", "watch": "#d9a441"}.get(one["verdict"], "#2b6cb0") for one in known]
    axes.barh(names, [one["psi"] for one in known], color=colours)
    for limit, style in ((0.1, ":"), (0.25, "--")):
        axes.axvline(limit, color="#222222", linewidth=0.8, linestyle=style)
    axes.set_xlabel("population stability index (0.1: worth a look, 0.25: another distribution)")
    axes.set_title(f"{report['version']}: {report['rows']:,} posts of the last {report['window_s'] / 60:g} minutes")
    if not known:
        axes.text(0.5, 0.5, "too few posts to compare", transform=axes.transAxes, ha="center")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)

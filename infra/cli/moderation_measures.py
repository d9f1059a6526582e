"""`riverlight moderation measures`: how well moderation works, from what people saw, said and decided."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from core.clock import SystemClock
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors

if TYPE_CHECKING:
    from models.moderation.measures import Estimate, Measures, Times
    from models.moderation.policy.proportions import Proportion

_UNKNOWN = "unknown"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("measures")(measures_command)


def measures_command(
    days: Annotated[float, typer.Option("--days", min=0.01, help="What happened in the last days.")] = 7.0,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show prevalence, harmful impressions, valid appeals, the proactive rate, reports by class and time to action.

    Intervals are of 95 %. `unknown`: too little happened, or too little of it was reviewed, to say. Nothing changes.

    Example: `riverlight moderation measures --days 30`
    """
    with errors():
        from models.moderation.measures import measure
        from storage.catalogue import Catalogue
        from storage.moderation import ModerationStore

        settings = load_settings()
        catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
        try:
            store = ModerationStore(catalogue.database)
            found = measure(store.counted(SystemClock().now() - timedelta(days=days)))
        finally:
            catalogue.close()
        emit(found, _told(found), output)


def _told(found: "Measures") -> RenderableType:
    title = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC, by class of harm"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("class", "prevalence", "95 %", "harmful impressions", "reports", "upheld", "rejected"):
        table.add_column(column, justify="left" if column == "class" else "right")
    total = [sum(getattr(one, name) for one in found.reports.values()) for name in ("reports", "upheld", "rejected")]
    table.add_row(
        "any", *_estimate(found.prevalence["any"]), f"{found.harmful_impressions['any']:,}", *(f"{n:,}" for n in total)
    )
    for harm, reports in found.reports.items():
        prevalence = found.prevalence.get(harm)
        table.add_row(
            harm if prevalence else "none named",
            *(_estimate(prevalence) if prevalence else ("", "")),
            f"{found.harmful_impressions[harm]:,}" if prevalence else "",
            *(f"{n:,}" for n in (reports.reports, reports.upheld, reports.rejected)),
        )
    sample = found.sample
    lines = [
        f"sample: {sample.draws:,} impressions drawn, of {sample.posts:,} posts; people have looked at "
        f"{sample.posts_reviewed:,} of these, with {sample.draws_reviewed:,} of the impressions; they stand for "
        f"{sample.impressions:,.0f} impressions",
        f"taken down: {found.enforced:,}; nobody had reported it before: {_share(found.proactive)}",
        f"appeals reversed: {_share(found.valid_appeals)}; still open: {found.appeals_open:,}; of what a machine "
        f"restricted: {_share(found.appeals_reversed_of_restricted)}",
        f"from post to taken down: {_times(found.post_to_enforced)}",
        f"from report to decision: {_times(found.report_to_decision)}",
    ]
    return Group(table, *lines)


def _estimate(found: "Estimate") -> tuple[str, str]:
    if found.value is None or found.low is None or found.high is None:
        return _UNKNOWN, ""
    return f"{found.value:.2%}", f"{found.low * 100:.2f}–{found.high:.2%}"


def _share(found: "Proportion") -> str:
    if found.share is None:
        return f"{_UNKNOWN} ({found.hits} of {found.n}: too few)" if found.n else f"{_UNKNOWN} (none)"
    return f"{found.share:.0%} of {found.n:,} ({found.low:.0%}–{found.high:.0%})"


def _times(found: "Times") -> str:
    told = f"p50 {_duration(found.p50_s)}, p95 {_duration(found.p95_s)}, of {found.n:,}"
    return told + (f"; {found.waiting:,} still wait" if found.waiting else "")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"

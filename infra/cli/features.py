"""`riverlight features`: look features up, recount them, and make training sets of them."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from core.clock import SystemClock
from core.errors import NotFound
from core.settings import load_settings
from infra.cli.features_moderation import moderation_set_command, skew_command
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    import pandas as pd

    from features.reader import FeatureRow

app = typer.Typer(
    no_args_is_help=True,
    help="Features of items, users, authors and posts: look them up, recount them, make training sets. "
    "docs/how-to/features.md",
)
app.command("moderation-set")(moderation_set_command)
app.command("skew")(skew_command)

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


class Entity(StrEnum):
    """What has features."""

    item = "item"
    user = "user"
    author = "author"
    post = "post"


@app.command("show")
def show_command(
    entity: Annotated[Entity, typer.Argument(help="Which kind of entity.")],
    ids: Annotated[list[str], typer.Argument(help="Their ids.")],
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show what the online store knows now: impressions, clicks, CTR, time spent, for day, week and month.

    A row that is older than `features.ttl_days` is stale, and its values are not shown: nobody should use them. Of
    authors and posts it shows what was counted of them for moderation, which holds until it changes.

    Examples:

    * `riverlight features show item item-7`

    * `riverlight features show user user-3 user-4 -o json`

    * `riverlight features show author user-3`
    """
    with errors(), progress_console().status("opening the feature store"):
        from features.reader import FeatureReader

        settings = load_settings()
        reader = FeatureReader.open(settings.home, settings.features, SystemClock())
        try:
            read = {
                Entity.item: reader.item_features,
                Entity.user: reader.user_features,
                Entity.author: reader.author_totals,
                Entity.post: reader.post_totals,
            }[entity]
            rows = read(ids)
        finally:
            reader.close()
    emit(rows, _rows(rows), output)


@app.command("rebuild")
def rebuild_command(
    allow_behind: Annotated[
        bool,
        typer.Option(
            "--allow-behind",
            help="Go on although the archive ends before what was counted. Then set the consumer group back to the "
            "positions shown, or the events between are lost to the features.",
        ),
    ] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Recount every feature from the archive and write the online store anew. Stop the system first.

    The way back from a damaged disk, and to a changed definition. The new counts are complete before they replace
    the old ones, so an interrupted rebuild changes nothing.

    Example: `riverlight down && riverlight features rebuild && riverlight up --detach`
    """
    with errors(), progress_console().status("recounting the archive"):
        from features.rebuild import rebuild

        settings = load_settings()
        report = rebuild(
            settings.home, _archive(settings.home), settings.features, SystemClock(), allow_behind=allow_behind
        )
    ends = ", ".join(f"{partition}: {offset}" for partition, offset in sorted(report.positions.items()))
    emit(
        report,
        f"{report.events:,} interactions counted, {report.entities:,} rows pushed\n"
        f"the archive ends at (partition: offset) {ends or 'nothing'}",
        output,
    )


@app.command("history")
def history_command(
    until: Annotated[datetime | None, typer.Option(formats=TIMES, help="As of when, UTC. Default: now.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Compute the features as of every past moment from the archive: the Parquet files of Feast's offline store.

    The system may run meanwhile.

    Examples:

    * `riverlight features history`

    * `riverlight features history --until 2026-11-01`
    """
    with errors(), progress_console().status("computing the history"):
        from features.moderation import build_totals_history
        from features.offline import History, build_history

        settings = load_settings()
        archive = _archive(settings.home)
        history = build_history(settings.home, archive, settings.features, until=_utc(until))
        totals = build_totals_history(settings.home, archive, until=_utc(until))
        history = History(history.events, {**history.rows, **totals})
    rows = ", ".join(f"{count:,} rows of {view}" for view, count in history.rows.items())
    emit(history, f"{history.events:,} interactions: {rows}", output)


@app.command("training-set")
def training_set_command(
    out: Annotated[
        Path | None, typer.Option(help="Parquet file to write. Default: `<home>/training/clicks.parquet`.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(formats=TIMES, help="Earliest impression, UTC.")] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Up to when events are known, UTC. Default: now.")
    ] = None,
    attribution_minutes: Annotated[
        float, typer.Option(min=0.1, help="A click this long after an impression still belongs to it.")
    ] = 30.0,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Write one row per impression: was it clicked, and what was known when it was shown (nothing later).

    Impressions too young to have been clicked are left out: those of the last `--attribution-minutes`. The history is
    computed first.

    Examples:

    * `riverlight features training-set --out clicks.parquet`

    * `riverlight features training-set --since 2026-11-01 --attribution-minutes 5`
    """
    console = progress_console()
    with errors():
        with console.status("computing the history") as status:
            import pyarrow as pa

            from features.archive import write_parquet
            from features.offline import build_history, training_set

            settings = load_settings()
            archive, known_until = _archive(settings.home), _utc(until)
            build_history(settings.home, archive, settings.features, until=known_until)
            status.update("joining impressions to what was known")
            table = training_set(
                settings.home,
                archive,
                settings.features,
                until=known_until,
                since=_utc(since) if since else None,
                attribution=timedelta(minutes=attribution_minutes),
            )
        if table.empty:
            raise NotFound(
                f"no impression in {archive} is at least {attribution_minutes:g} minutes old and in the range asked; "
                "a smaller --attribution-minutes takes younger ones"
            )
        path = out or settings.home / "training" / "clicks.parquet"
        write_parquet(path, pa.Table.from_pandas(table, preserve_index=False))
        found = _summary(table, path)
        emit(found, _summary_text(found), output)


def _archive(home: Path) -> Path:
    return home.resolve() / "archive"


def _utc(moment: datetime | None) -> datetime:
    if moment is None:
        return datetime.now(UTC)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _summary(table: "pd.DataFrame", path: Path) -> dict[str, object]:
    positives = int(table["clicked"].sum())
    return {
        "path": path,
        "rows": len(table),
        "positives": positives,
        "positive_ratio": positives / len(table),
        "users": int(table["user_id"].nunique()),
        "items": int(table["item_id"].nunique()),
        "since": table["event_timestamp"].min().to_pydatetime(),
        "until": table["event_timestamp"].max().to_pydatetime(),
        "features": [name for name in table.columns if "__" in name],
    }


def _summary_text(found: dict[str, object]) -> Group:
    table = Table(show_header=False, box=None)
    for name, value in found.items():
        if name == "features":
            table.add_row("features", str(len(found["features"])))  # type: ignore[arg-type]
        elif name == "positive_ratio":
            table.add_row("positive ratio", f"{value:.4f}")
        else:
            table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    return Group(table)


def _rows(rows: list["FeatureRow"]) -> Table:
    """Return a column per entity: the values of many features read better downwards."""
    table = Table("feature", *(row.entity_id for row in rows))
    table.add_row("status", *(row.status for row in rows))
    table.add_row("as of", *(row.as_of.isoformat(timespec="seconds") if row.as_of else "" for row in rows))
    for name in rows[0].values if rows else ():
        table.add_row(name, *(_number(row.values[name]) for row in rows))
    return table


def _number(value: float | None) -> str:
    match value:
        case None:
            return "–"
        case int():
            return f"{value:,}"
        case _:
            return f"{value:.4g}"

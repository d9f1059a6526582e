"""`riverlight features moderation-set` and `skew`: what was known of posts when they were decided."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from core.errors import NotFound
from core.settings import Settings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    from infra.moderation_skew import Skew
    from storage.moderation import ScannedPost

_DAYS = typer.Option(min=0.0, help="Posts of the last so many days.")


def moderation_set_command(
    out: Annotated[
        Path | None, typer.Option(help="Parquet file to write. Default: `<home>/training/moderation.parquet`.")
    ] = None,
    days: Annotated[float, _DAYS] = 30.0,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Write what was known of each post and its author when it was decided, and what was decided: point-in-time.

    One row per active post whose decision logged its features. The history is computed first, from the archive, and
    knows what that does.

    Example: `riverlight features moderation-set --days 7 --out posts.parquet`
    """
    with errors(), progress_console().status("joining decisions to what was known"):
        import pyarrow as pa

        from features.archive import write_parquet
        from infra.moderation_skew import moderation_set

        settings = load_settings()
        posts = _logged(settings, days, None)
        frame = moderation_set(settings.home, settings.features, posts)
        path = out or settings.home / "training" / "moderation.parquet"
        write_parquet(path, pa.Table.from_pandas(frame, preserve_index=False))
    found = {"path": path, "rows": len(frame), "labelled": int(frame["label"].notna().sum())}
    emit(found, f"{len(frame):,} posts ({found['labelled']:,} of them looked at by people) in {path}", output)


def skew_command(
    days: Annotated[float, _DAYS] = 1.0,
    most: Annotated[int, typer.Option(min=1, help="Compare at most so many decisions, the newest.")] = 5_000,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Compare the features that decisions logged with the offline store as of the same moment: training/serving skew.

    Example: `riverlight features skew --days 2`
    """
    with errors(), progress_console().status("joining decisions to what was known"):
        from infra.moderation_skew import skew

        settings = load_settings()
        found = skew(settings.home, settings.features, _logged(settings, days, most))
    emit(found, _text(found), output)


def _logged(settings: Settings, days: float, most: int | None) -> "list[ScannedPost]":
    """Return the posts to look at. Raises NotFound where no decision logged what it knew."""
    from infra.moderation_skew import logged_posts
    from storage.catalogue import Catalogue
    from storage.moderation import ModerationStore

    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        posts = logged_posts(ModerationStore(catalogue.database), datetime.now(UTC) - timedelta(days=days), most)
    finally:
        catalogue.close()
    if not posts:
        raise NotFound(
            f"no active post of the last {days:g} days has a decision that logged features; --days looks back"
        )
    return posts


def _text(found: "Skew") -> RenderableType:
    text = f"{found.equal:,} of {found.compared:,} decisions knew what the offline store says of that moment"
    if not found.differing:
        return text
    table = Table("feature", "decisions that differ")
    for name, number in sorted(found.differing.items(), key=lambda pair: -pair[1]):
        table.add_row(name, f"{number:,}")
    return Group(text, table, f"such as {', '.join(found.posts)}")

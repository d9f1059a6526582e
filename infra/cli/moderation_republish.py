"""`riverlight moderation republish`: the catalogue's verdicts once more, for a topic that has lost them."""

import typer

from core.settings import load_settings
from infra.cli.moderation_history import ByOption, bar
from infra.cli.output import OutputFormat, OutputOption, emit, errors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("republish")(republish_command)


def republish_command(by: ByOption, output: OutputOption = OutputFormat.text) -> None:
    """Publish what restricts posts once more, from the catalogue: when `moderation.verdicts.v1` was lost or damaged.

    Each verdict has the version that it had, so who knows it takes no notice: it may be run twice, and while the system
    runs. Verdicts go through the outbox, so workers have to run for them to arrive.

    Example: `riverlight moderation republish --by ada`
    """
    with errors():
        from infra.moderation_republishing import republish_all
        from storage.catalogue import Catalogue
        from storage.moderation import ModerationStore

        settings = load_settings()
        catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
        try:
            with bar("posts") as advance:
                done = republish_all(ModerationStore(catalogue.database), catalogue.outbox_size, by, advance=advance)
            waiting = catalogue.outbox_size()
        finally:
            catalogue.close()
        told = f"{done.verdicts:,} verdicts of {done.posts:,} posts are in the outbox; {waiting:,} records wait there"
        emit({"posts": done.posts, "verdicts": done.verdicts, "waiting": waiting}, told, output)

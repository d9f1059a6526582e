"""`riverlight audit`: what was done in moderation, by whom; and whether anybody changed the record of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from core.settings import load_settings
from infra.cli.output import EXIT_FAILED, OutputFormat, OutputOption, emit, errors

if TYPE_CHECKING:
    from storage.moderation import AuditCheck, AuditEntry, ModerationStore

app = typer.Typer(no_args_is_help=True, help="The audit log of moderation: read it, and check that nobody changed it.")


@app.command("verify")
def verify_command(
    head: Annotated[
        str | None,
        typer.Option("--head", help="Hash of an entry, kept elsewhere: without it, entries cut off are not missed."),
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Check the chain of hashes, and decisions against it. Exit code 1: something was changed, and where."""
    with errors(), _store() as store:
        checked = store.verify_audit(head)
        emit(checked, _verdict(checked, head), output)
        if not checked.ok:
            raise typer.Exit(EXIT_FAILED)


@app.command("show")
def show_command(
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only what is about this: a post's id, a list, a sweep.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show the newest entries, newest first."""
    with errors(), _store() as store:
        entries = store.audit_entries(subject, limit)
        emit([_plain(entry) for entry in entries], _table(entries), output)


@app.command("head")
def head_command(output: OutputOption = OutputFormat.text) -> None:
    """Print the number and hash of the newest entry: keep the hash where the database's owner cannot change it."""
    with errors(), _store() as store:
        head = store.audit_head()
        emit(head, Text(f"{head.seq} {head.hash}"), output)


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


def _verdict(checked: "AuditCheck", head: str | None) -> Text:
    if not checked.ok:
        return Text(f"BROKEN: {checked.why} ({checked.entries:,} entries read)", style="bold red")
    if head is None:
        kept = "entries cut off at the end would not be missed: keep this hash elsewhere, and verify with --head"
    else:
        kept = "the hash that was kept is in it"
    return Text(f"{checked.entries:,} entries, whole, up to {checked.head.hash}; {kept}")


def _plain(entry: "AuditEntry") -> dict[str, object]:
    return {**vars(entry), "payload": msgspec.json.decode(entry.payload)}


def _table(entries: "list[AuditEntry]") -> Table:
    table = Table()
    for column in ("seq", "at", "actor", "action", "subject", "payload"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        fields = (str(entry.seq), entry.at, entry.actor, entry.action, entry.subject, entry.payload)
        table.add_row(*(Text(field) for field in fields))
    return table

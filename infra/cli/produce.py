"""`riverlight produce`: events from a file or a pipe straight into Kafka."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Group
from rich.table import Table

from core.errors import InvalidInput
from core.events import STREAM_EVENTS
from core.settings import load_settings
from infra.cli.output import EXIT_FAILED, OutputFormat, OutputOption, emit, errors, progress_console
from infra.cli.running import BrokerOption, bootstrap_of

if TYPE_CHECKING:
    from streams.produce import ProduceSummary

SHOWN_ERRORS = 20


def produce_command(
    stream: Annotated[str, typer.Argument(help=f"One of {', '.join(STREAM_EVENTS)}.")],
    file: Annotated[Path, typer.Argument(help="JSON lines, one event each; `-` reads standard input.")],
    frame: Annotated[int, typer.Option(min=1, help="Events in one record: 100 is much faster for high volumes.")] = 1,
    per_s: Annotated[float | None, typer.Option(min=0.001, help="At most this many events a second.")] = None,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Validate events and send them to Kafka; return when the broker has acknowledged every one.

    A line that is not a valid event is named and left out; then, or when a record is not acknowledged, the exit code
    is 1. Example: `riverlight produce interactions clicks.jsonl --frame 100`
    """
    from storage.log.producer import KafkaPublisher
    from streams.produce import partition_count, produce

    console = progress_console()
    with errors():
        settings = load_settings()
        bootstrap = bootstrap_of(settings, broker)
        publisher = KafkaPublisher(bootstrap, settings.producer, client_id="riverlight-produce")
        try:
            with _open(file) as lines, console.status("sending") as status:
                summary = produce(
                    publisher,
                    stream,
                    lines,
                    frame=frame,
                    partitions=partition_count(bootstrap, stream) if frame > 1 else None,
                    per_s=per_s,
                    progress=lambda n, events: status.update(f"{n:,} lines, {events:,} events"),
                )
        finally:
            publisher.close()
        emit(summary, _text(summary), output)
    if summary.rejected or summary.undelivered:
        raise typer.Exit(EXIT_FAILED)


def _open(file: Path) -> BinaryIO:
    if str(file) == "-":
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from error


def _text(summary: "ProduceSummary") -> Group:
    rate = summary.events / summary.duration_s if summary.duration_s else 0.0
    head = (
        f"{summary.events:,} events in {summary.records:,} records to {summary.topic} "
        f"({rate:,.0f} events/s); {summary.rejected} rejected, {summary.undelivered} not acknowledged"
    )
    table = Table("line", "code", "error")
    for error in summary.errors[:SHOWN_ERRORS]:
        table.add_row(str(error.line), error.code, error.message)
    return Group(head, table) if summary.errors else Group(head)

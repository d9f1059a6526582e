"""`riverlight dlq`: what could not be handled."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from core.errors import InvalidInput
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console
from infra.cli.running import BrokerOption, bootstrap_of

if TYPE_CHECKING:
    from streams.dead_letters import DeadLetter

app = typer.Typer(no_args_is_help=True, help="Dead letters: records that could not be handled, kept with their bytes.")

CodeOption = Annotated[str | None, typer.Option("--code", help="Only those with this error code, e.g. invalid-event.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only those of this topic.")]
IdArgument = Annotated[str | None, typer.Argument(help="Id of one dead letter, as `dlq list` shows it.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that are open.")]


@app.command("list")
def list_command(
    topic: TopicOption = None,
    code: CodeOption = None,
    settled: Annotated[bool, typer.Option("--settled", help="Also those replayed or dropped since.")] = False,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """List dead letters, oldest first, with their counts by code."""
    from streams.dead_letters import list_dead_letters

    with errors():
        found = list_dead_letters(bootstrap_of(load_settings(), broker), topic, code=code, settled=settled)
        codes = dict(Counter(letter.code for letter in found))
        lines = [_line(letter) for letter in found]
        summary = ", ".join(f"{count} {code}" for code, count in codes.items())
        lines.append(Text(f"{summary}; riverlight dlq show ID" if codes else "there are no dead letters"))
        emit({"codes": codes, "letters": [_plain(letter) for letter in found]}, Group(*lines), output)


@app.command("show")
def show_command(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a dead letter.")],
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show one dead letter: where it came from, why it failed, and its original bytes."""
    from streams import dead_letters

    with errors():
        letter = dead_letters.show(bootstrap_of(load_settings(), broker), letter_id)
        table = Table(show_header=False)
        for name, value in _plain(letter).items():
            table.add_row(name, str(value))
        emit(_plain(letter), table, output)


@app.command("replay")
def replay_command(
    letter_id: IdArgument = None,
    everything: AllOption = False,
    code: CodeOption = None,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Put the original bytes back on their topic, with the same event id. Doing it twice is harmless.

    Examples: `riverlight dlq replay evt-81` · `riverlight dlq replay --code not-found` · `riverlight dlq replay --all`
    """
    _settle("replay", letter_id, everything, code, broker, output)


@app.command("drop")
def drop_command(
    letter_id: IdArgument = None,
    everything: AllOption = False,
    code: CodeOption = None,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Mark dead letters as settled. Their bytes stay in the topic until its retention ends."""
    _settle("drop", letter_id, everything, code, broker, output)


def _settle(
    verb: str, letter_id: str | None, everything: bool, code: str | None, broker: str | None, output: OutputFormat
) -> None:
    from storage.log.producer import KafkaPublisher
    from streams import dead_letters

    with errors():
        if sum((letter_id is not None, everything, code is not None)) != 1:
            raise InvalidInput(f"say what to {verb}: one id, --code CODE, or --all")
        settings = load_settings()
        bootstrap = bootstrap_of(settings, broker)
        found = dead_letters.list_dead_letters(bootstrap, code=code)
        chosen = dead_letters.select(found, letter_id) if letter_id is not None else found
        publisher = KafkaPublisher(bootstrap, settings.producer, client_id=f"riverlight-dlq-{verb}")
        console = progress_console()
        try:
            if verb == "replay":
                action = dead_letters.replay(publisher, chosen, lambda n, total: console.print(f"{n} of {total}"))
            else:
                action = dead_letters.drop(publisher, chosen)
            done = asyncio.run(action)
        finally:
            publisher.close()
        emit({"done": done, "ids": [letter.id for letter in chosen]}, f"{verb}: {done} dead letters", output)


def _line(letter: "DeadLetter") -> Text:
    """Two lines of text: which letter, when and what kind; then why, cut to one line."""
    state = "" if letter.state == "open" else f" ({letter.state})"
    why = letter.error if len(letter.error) <= 150 else letter.error[:149] + "…"
    return Text.assemble(
        (letter.id, "bold"), f"  {letter.time:%d %b %H:%M:%S}  ", (letter.code + state, "red"), f"\n  {why}\n"
    )


def _plain(letter: "DeadLetter") -> dict[str, object]:
    return {
        "event_id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "time": letter.time,
        "key": letter.key,
        "code": letter.code,
        "error": letter.error,
        "stack_hash": letter.stack_hash,
        "attempts": letter.attempts,
        "agent": letter.agent,
        "code_version": letter.code_version,
        "replayed": letter.replayed,
        "state": letter.state,
        "value": letter.value,
    }

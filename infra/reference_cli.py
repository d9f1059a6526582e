"""The reference page of the command line, from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

PROGRAM = "riverlight"


def cli_page() -> str:
    """Every command with its arguments, options and examples; hidden ones are left out."""
    from typer.main import get_command

    from infra.cli.main import app

    root = get_command(app)
    commands = list(_commands(root, PROGRAM))
    lines = ["# Command line\n", _text(root.help) + "\n", "| command | does |", "| --- | --- |"]
    lines += [f"| [`{path}`](#{path.replace(' ', '-')}) | {_summary(command)} |" for path, command in commands]
    for path, command in commands:
        context = command.context_class(command, info_name=path)
        usage = command.get_usage(context).removeprefix("Usage: ")
        lines += [f"\n## `{path}`\n", _text(command.help), f"\n```text\n{usage}\n```\n"]
        shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        if shown:
            lines += ["| option | meaning |", "| --- | --- |"]
        for parameter in shown:
            name, meaning = parameter.get_help_record(context)
            lines.append(f"| `{_cell(name)}` | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands that do something, in the order of `--help`."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, child in below.items():
        if not child.hidden:
            yield from _commands(child, f"{path} {name}")


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "").strip()


def _summary(command: Any) -> str:
    return _cell(_text(command.help).partition("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""How every command speaks: tables for people, JSON for programs, errors on standard error with an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 nothing is running.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console, RenderableType

from core.errors import ConfigurationError, InvalidInput, RiverlightError

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_RUNNING = 1, 2, 3


class OutputFormat(StrEnum):
    """What a command writes to standard output."""

    text = "text"
    json = "json"


OutputOption = Annotated[
    OutputFormat, typer.Option("--output", "-o", help="`text` for people, `json` for programs (one document).")
]


class NotRunning(RiverlightError):
    """The command needs a running system and there is none."""

    code = "not-running"


def emit(data: Any, text: RenderableType, output: OutputFormat) -> None:
    """Write a command's result: `data` as JSON, or `text` (anything rich can render)."""
    if output is OutputFormat.json:
        sys.stdout.write(json.dumps(to_plain(data), indent=2, allow_nan=False) + "\n")
    else:
        Console().print(text)


def progress_console() -> Console:
    """Where progress is shown: standard error, so that standard output stays the result."""
    return Console(stderr=True)


@contextmanager
def errors() -> Iterator[None]:
    """Turn an error of ours into one line on standard error and an exit code; a defect keeps its traceback."""
    try:
        yield
    except RiverlightError as error:
        Console(stderr=True).print(f"[bold red]error[/] ({error.code}): ", end="")
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(str(error))
        raise typer.Exit(exit_code(error)) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped")
        raise typer.Exit(130) from None


def exit_code(error: RiverlightError) -> int:
    """Return the exit code that an error stands for."""
    match error:
        case NotRunning():
            return EXIT_NOT_RUNNING
        case ConfigurationError() | InvalidInput():
            return EXIT_USAGE
        case _:
            return EXIT_FAILED


def to_plain(value: Any) -> Any:
    """Return `value` as what JSON can hold: dataclasses and Structs as objects, paths and times as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if np.isfinite(value) else None
        case np.generic():
            return to_plain(value.item())
        case np.ndarray():
            return to_plain(value.tolist())
        case datetime() | date():
            return value.isoformat()
        case Path():
            return str(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case dict():
            return {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_plain(item) for item in value]
        case msgspec.Struct():
            return to_plain(msgspec.structs.asdict(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no plain form")

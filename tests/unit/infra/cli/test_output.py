import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer

from core.errors import ConfigurationError, InvalidEvent, RiverlightError, Unavailable
from infra.cli.output import NotRunning, OutputFormat, emit, errors, to_plain


@dataclasses.dataclass
class Found:
    path: Path
    score: float


class Row(msgspec.Struct):
    when: datetime


def test_json_is_one_document_that_parses(capsys):
    emit({"found": [Found(Path("a/b"), float("nan"))], "n": np.int64(3)}, "text", OutputFormat.json)
    assert json.loads(capsys.readouterr().out) == {"found": [{"path": "a/b", "score": None}], "n": 3}


def test_structs_arrays_and_times_have_a_plain_form():
    assert to_plain(Row(datetime(2026, 11, 22, tzinfo=UTC))) == {"when": "2026-11-22T00:00:00+00:00"}
    assert to_plain(np.array([[1.5, 2.0]], dtype=np.float32)) == [[1.5, 2.0]]
    with pytest.raises(TypeError, match="no plain form"):
        to_plain(object())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("the broker is down"), 1),
        (RiverlightError("x"), 1),
        (ConfigurationError("x"), 2),
        (InvalidEvent("x"), 2),
        (NotRunning("x"), 3),
    ],
)
def test_an_error_is_one_line_on_standard_error_with_its_exit_code(error, code, capsys):
    with pytest.raises(typer.Exit) as exited, errors():
        raise error
    assert exited.value.exit_code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(error) in captured.err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), errors():
        1 / 0  # noqa: B018

"""SQLite in few steps: many rows written by one statement, many rows read as one.

Python gives the interpreter's lock away around each step of a statement. A thread that writes or reads thousands of
rows one by one therefore waits thousands of times for whatever else is computing, up to 5 ms each: counting and
pushing would starve each other. One step for many rows waits once, and the work inside it runs beside Python.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

_MAX_VARIABLES = 32_766  # of one statement, in SQLite from 3.32 on
_BLOCKS = (1024, 128, 16, 1)  # rows in one statement: few sizes, so that the compiled statements are used again


def write_rows(db: sqlite3.Connection, before: str, rows: Sequence[Sequence[Any]], after: str = "") -> None:
    """Run `before VALUES (?, ...), (?, ...), ... after` over all rows, which are of one length.

    `before` is the statement up to VALUES (`INSERT INTO t`), `after` what follows the rows (`ON CONFLICT ...`).
    """
    if not rows:
        return
    columns = len(rows[0])
    one = f"({','.join('?' * columns)})"
    first = 0
    for size in _BLOCKS:
        if size * columns > _MAX_VARIABLES:
            continue
        statement = f"{before} VALUES {','.join([one] * size)} {after}"
        while len(rows) - first >= size:
            db.execute(statement, [value for row in rows[first : first + size] for value in row])
            first += size


def read_columns(db: sqlite3.Connection, select: str, columns: Sequence[str], *given: Any) -> list[list[Any]]:
    """Return the columns of a query, each as a list; texts and integers only.

    Args:
        select: the query up to its columns is written here: `FROM ... WHERE ...`.
        columns: the expressions to return; given: what the query's question marks stand for.
    """
    arrays = ",".join(f"json_group_array({column})" for column in columns)
    row = db.execute(f"SELECT {arrays} {select}", given).fetchone()
    return [msgspec.json.decode(column, type=list) for column in row]


def as_json(values: Sequence[str]) -> str:
    """Return a list for SQLite's `json_each`, whose `key` is the position and whose `value` is the text."""
    return msgspec.json.encode(list(values)).decode()

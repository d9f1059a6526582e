"""The format of the feature state on disk: its tables, its version, and the way from the version before it."""

import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from core.errors import IntegrityError, Unavailable
from features import seen_ids

VERSION = 2

_SHARED = """
CREATE TABLE fences (topic TEXT, part INTEGER, epoch TEXT, last_offset INTEGER,
    PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE counts (
    view INTEGER, entity TEXT, width INTEGER, start_us INTEGER,
    impressions INTEGER NOT NULL, clicks INTEGER NOT NULL, time_spent_ms INTEGER NOT NULL,
    PRIMARY KEY (view, entity, width, start_us)) WITHOUT ROWID;
CREATE TABLE dirty (
    place INTEGER PRIMARY KEY, view INTEGER, entity TEXT, seq INTEGER NOT NULL, newest_us INTEGER NOT NULL,
    UNIQUE (view, entity));
CREATE TABLE entities (view INTEGER, entity TEXT, pushed_us INTEGER NOT NULL, due_us INTEGER,
    PRIMARY KEY (view, entity)) WITHOUT ROWID;
CREATE INDEX entities_by_due ON entities (due_us);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('seq', 0), ('forgotten_before_day', -1)
"""
_SINCE_2 = """
CREATE TABLE journal (seq INTEGER PRIMARY KEY, delta BLOB NOT NULL);
CREATE TABLE ids (seq INTEGER PRIMARY KEY, ids BLOB NOT NULL);
CREATE TABLE runs (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE run_prefix (prefix TEXT NOT NULL);
INSERT INTO meta VALUES ('appended', 0), ('folds', 0), ('runs', 0), ('run_names', 0)
"""


@dataclass(frozen=True)
class Format:
    """An open state file of this release's format, and where its runs of event ids lie.

    Several state files may share the folder (a rebuild makes a second one): the prefix tells their runs apart.
    """

    connection: sqlite3.Connection
    runs_folder: Path
    runs_prefix: str


def open_database(path: Path) -> Format:
    """Open or create a state file; one of version 1 is brought to this version, in one transaction.

    Raises:
        IntegrityError: it is from a newer release or not a state file.
        Unavailable: it is locked by another process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # Each commit reaches the disk: source offsets are committed after it and must not run ahead of it.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -65536")
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise IntegrityError(f"{path} has format {version}, this release knows {VERSION}; use the newer release")
        if version == 0:
            _run(db, _SHARED)
        if version < VERSION:
            _run(db, _SINCE_2)
            db.execute("INSERT INTO run_prefix VALUES (?)", (secrets.token_hex(4),))
        (prefix,) = db.execute("SELECT prefix FROM run_prefix").fetchone()
        opened = Format(db, path.parent / "ids", prefix)
        if version == 1:
            _ids_to_runs(opened)
            # The rows that version 1 pushed are in a layout that is not read any more: all are pushed again.
            db.execute(
                "INSERT INTO dirty (view, entity, seq, newest_us) SELECT view, entity, 0, 0 FROM entities WHERE true"
                " ON CONFLICT DO NOTHING"
            )
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise Unavailable(f"{path} is locked by another process: {error}") from error
        raise IntegrityError(f"{path} is not feature state: {error}; run the feature rebuild") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise IntegrityError(f"{path} is not feature state: {error}; run the feature rebuild") from error
    except BaseException:
        db.close()
        raise
    return opened


def remove_foreign_runs(path: Path) -> None:
    """Remove every run in the folder that is not of this state file: call it when no other state file is in use."""
    opened = open_database(path)
    try:
        for file in opened.runs_folder.glob("*.ids"):
            if not file.name.startswith(f"{opened.runs_prefix}-"):
                file.unlink()
    finally:
        opened.connection.close()


def _ids_to_runs(opened: Format) -> None:
    """Version 1 kept ids in a table: write them to runs."""
    db = opened.connection
    rows = db.execute("SELECT id, day FROM seen")
    number = 0
    while chunk := rows.fetchmany(10 * seen_ids.RUN_IDS):
        number += 1
        name = f"{opened.runs_prefix}-{number:09d}.ids"
        (opened.runs_folder / name).unlink(missing_ok=True)
        if seen_ids.write_run(opened.runs_folder / name, dict(chunk), -1) is not None:
            db.execute("INSERT INTO runs VALUES (?)", (name,))
    db.execute("UPDATE meta SET value = ? WHERE name = 'run_names'", (number,))
    rows.close()
    db.execute("DROP TABLE seen")


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        db.execute(statement)

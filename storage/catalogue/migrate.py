"""Brings a database to this release's schema: one process at a time, and never backwards."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from core.errors import IntegrityError, Unavailable
from storage.catalogue.database import Database

_LOCK_TIMEOUT_S = 60.0
_ADVISORY_LOCK = 0x52495645_524C49  # "RIVERLI": an arbitrary number that is ours on a shared server


def migrate(database: Database) -> None:
    """Create or upgrade the schema. A database that is up to date is only looked at.

    Raises:
        IntegrityError: the schema is from a newer release than this one.
        Unavailable: another process has been migrating for more than a minute, or the database does not answer.
    """
    config = alembic_config()
    scripts = ScriptDirectory.from_config(config)
    with _lock(database), database.reading() as connection:
        if database.dialect == "postgresql":
            connection.execute(text("SET statement_timeout = 0"))
        connection.rollback()
        _upgrade(connection, config, scripts)


def alembic_config() -> Config:
    """Return Alembic's configuration; it needs no file, so it works from an installed package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, config: Config, scripts: ScriptDirectory) -> None:
    current = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    if current == set(scripts.get_heads()):
        return
    known = {script.revision for script in scripts.walk_revisions()}
    if current - known:
        raise IntegrityError(
            f"the catalogue's schema is at revision {', '.join(sorted(current))}, which this release does not know "
            f"(its newest is {', '.join(scripts.get_heads())}): a newer release wrote it. Upgrade Riverlight, or "
            "restore a copy made before the upgrade"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "heads")


@contextlib.contextmanager
def _lock(database: Database) -> Iterator[None]:
    if database.path is None:
        with _advisory_lock(database):
            yield
        return
    database.path.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(database.path.with_name(database.path.name + ".migration-lock")):
        # The journal mode is a property of the file. Set here, once: switching while others are connected fails
        # with "database is locked", whatever the busy timeout is.
        with contextlib.closing(database.engine.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"another process has been migrating the catalogue for over {_LOCK_TIMEOUT_S:g} s ({path})"
                    ) from None
                time.sleep(0.02)
        yield  # the lock goes with the file, also when this process is killed


@contextlib.contextmanager
def _advisory_lock(database: Database) -> Iterator[None]:
    with database.reading() as connection:
        # A lock of the session, held beside the connection that migrates; it goes when the session does.
        connection.execute(text(f"SET lock_timeout = '{int(_LOCK_TIMEOUT_S)}s'; SET statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
            connection.invalidate()  # its session settings must not come back from the pool

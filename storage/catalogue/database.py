"""Connections and transactions, on SQLite and on PostgreSQL."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import ConfigurationError, Unavailable
from core.settings import CatalogueSettings

_WRITES = "riverlight_writes"
_POOL = 8
_PG_OPTIONS = "-c statement_timeout=15000 -c idle_in_transaction_session_timeout=60000 -c timezone=utc"


class Database:
    """An engine with two kinds of transaction: `reading()` and `writing()`. Thread-safe.

    A SQLite writer takes the write lock when it begins (BEGIN IMMEDIATE), so that waiting happens there, within
    `busy_timeout_s`; a transaction that reads first and writes later would fail at once when another one wrote
    between. Threads of one process queue in Python before that, because SQLite's own waiting is by polling.

    Raises:
        ConfigurationError: the URL is not one of a SQLite file or of PostgreSQL.
    """

    def __init__(self, url: str, settings: CatalogueSettings) -> None:
        self.url, self.dialect = _checked(url)
        self._settings = settings
        self._writer = threading.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()
        self.engine = self._engine()

    @property
    def path(self) -> Path | None:
        """The database file of SQLite."""
        return Path(make_url(self.url).database or "") if self.dialect == "sqlite" else None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with _translated(self.engine), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed, durably, when the block ends, and rolled back when it raises.

        Raises:
            Unavailable: the database did not answer, or another writer held it for too long.
        """
        with _translated(self.engine), self._writer, self.engine.connect() as connection:
            with connection.execution_options(**{_WRITES: True}).begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _engine(self) -> Engine:
        options: dict[str, Any] = {
            "pool_size": _POOL,
            "max_overflow": _POOL,
            "pool_timeout": self._settings.busy_timeout_s,
            "json_serializer": lambda value: msgspec.json.encode(value).decode(),
            "json_deserializer": msgspec.json.decode,
        }
        if self.dialect == "sqlite":
            engine = create_engine(self.url, connect_args={"timeout": self._settings.busy_timeout_s}, **options)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        lock = f" -c lock_timeout={int(self._settings.busy_timeout_s * 1000)}"
        return create_engine(
            self.url, pool_pre_ping=True, connect_args={"connect_timeout": 5, "options": _PG_OPTIONS + lock}, **options
        )


def _checked(url: str) -> tuple[str, str]:
    try:
        parsed = make_url(url)
        dialect = parsed.get_backend_name()
        if dialect == "sqlite" and parsed.database and parsed.database != ":memory:":
            return url, dialect
        if dialect == "postgresql":
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")  # the driver that is installed with us
            return parsed.render_as_string(hide_password=False), dialect
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(f"catalogue.url is not a database URL: {error}") from error
    raise ConfigurationError(
        f"catalogue.url {parsed.render_as_string()!r} is neither a SQLite file (`sqlite:////folder/catalogue.db`; "
        "a store of record cannot live in memory) nor PostgreSQL (`postgresql+psycopg://user@host/db`)"
    )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions by itself, and too late
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")  # in WAL mode: every commit is on the disk before it returns
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        where = engine.url.render_as_string(hide_password=True)
        cause = error.orig if isinstance(error, OperationalError | InterfaceError) else error
        raise Unavailable(f"the catalogue at {where} did not answer: {cause}") from error

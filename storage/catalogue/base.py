"""What the tables share: the metadata, and column types that mean the same on SQLite and PostgreSQL."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, Table, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase

_Value = TypeVar("_Value")
_IN_CHUNK = 500  # values in one IN (...): a statement of bounded length, well under SQLite's limit of 32,766


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: timezone-aware in Python, UTC in the database (SQLite has no timezones of its own)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no timezone, so it is not a point in time")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# A 64-bit key that counts up; SQLite only counts a column up that is declared INTEGER (64-bit there, too).
Serial = BigInteger().with_variant(Integer, "sqlite")


def upsert(dialect: str, table: type[Base]) -> Any:
    """Return an INSERT that knows `on_conflict_do_update|nothing`, which both dialects spell the same."""
    target: Table = table.__table__  # type: ignore[assignment]
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(target)


def clean(text: str) -> str:
    """Return text that every database can hold: PostgreSQL refuses NUL, UTF-8 lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Cut a sequence into parts that fit one IN (...)."""
    for start in range(0, len(values), _IN_CHUNK):
        yield values[start : start + _IN_CHUNK]

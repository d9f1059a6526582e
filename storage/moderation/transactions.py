"""Transactions: what every call on moderation's store is made in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from core.clock import Clock, SystemClock
from storage.catalogue.database import Database
from storage.moderation import audit
from storage.moderation.decisions import Told
from storage.moderation.work import NO_CAUSES, NOTHING_TOLD, Cause, Work


class Transactions:
    """A database with moderation's tables, and a clock."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other one of moderation runs beside."""
        with self._database.writing() as connection:
            audit.lock(connection)
            yield connection

    @contextmanager
    def _working(
        self, causes: Mapping[str, Cause] = NO_CAUSES, told: Mapping[str, Told] = NOTHING_TOLD
    ) -> Iterator[Work]:
        """The same, with audit entries and records for the outbox written at its end."""
        with self._writing() as connection:
            work = Work(connection, self._clock.now(), causes, told)
            yield work
            work.finish()

"""The catalogue: one object over all its tables; each call is one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from core.clock import Clock, SystemClock
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings
from storage.catalogue import aliases, inbox, items, media, outbox, traces
from storage.catalogue.aliases import AliasChange
from storage.catalogue.database import Database
from storage.catalogue.items import Item
from storage.catalogue.media import MediaRecord
from storage.catalogue.migrate import migrate
from storage.catalogue.traces import TraceRecord


class Catalogue:
    """The store of record. Synchronous and thread-safe; asynchronous code calls it in a thread.

    Every call raises Unavailable when the database does not answer, or another writer holds it for too long; the same
    call may then be repeated, because each one is a single transaction and changes nothing the second time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, url: str, settings: CatalogueSettings, *, clock: Clock | None = None) -> Self:
        """Connect, and bring the schema up to date first (one process does, others wait for it).

        Raises:
            ConfigurationError: the URL is not one of a SQLite file or of PostgreSQL.
            IntegrityError: the schema is from a newer release.
            Unavailable: the database does not answer.
        """
        database = Database(url, settings)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock or SystemClock())

    @property
    def database(self) -> Database:
        """The database, for other stores of record over it; it closes with the catalogue."""
        return self._database

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    # --- items -------------------------------------------------------------------------------------------------

    def item(self, item_id: str) -> Item | None:
        """Return an item in whatever state it is, or None when it was never known."""
        return self.items([item_id]).get(item_id)

    def items(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return those of the items that are known, by id."""
        with self._database.reading() as connection:
            return items.read_items(connection, item_ids)

    def scan_items(
        self, after: str = "", limit: int = 1000, states: Sequence[str] = ("active", "hidden")
    ) -> list[Item]:
        """Return up to `limit` items in the order of their ids, from the first one after `after`."""
        with self._database.reading() as connection:
            return items.scan_items(connection, after, limit, states)

    def count_items(self) -> dict[str, int]:
        """Return how many items are active, hidden and deleted."""
        with self._database.reading() as connection:
            return items.count_items(connection)

    def apply_items(
        self,
        consumer: str,
        changes: Sequence[tuple[str, Item | None]],
        *,
        outgoing: Sequence[OutgoingRecord] = (),
    ) -> None:
        """Apply what a consumer made of some events, in one transaction: all of it or nothing.

        Args:
            consumer: whose inbox the events are recorded in.
            changes: per event its id and the item's new state, or None when the event changes nothing. An item is
                written only where its version is newer than what is there, so that the order does not matter. A
                deleted item loses everything but ids, state, version and times.
            outgoing: records for the outbox, in the same transaction.
        """
        with self._database.writing() as connection:
            inbox.record(connection, consumer, [event_id for event_id, _ in changes], self._clock.now())
            items.write_items(connection, [item for _, item in changes if item is not None])
            outbox.add(connection, outgoing, self._clock.now())

    # --- inbox -------------------------------------------------------------------------------------------------

    def seen(self, consumer: str, event_ids: Sequence[str]) -> set[str]:
        """Return those of the events that the consumer has applied."""
        with self._database.reading() as connection:
            return inbox.seen(connection, consumer, event_ids)

    def prune_inbox(self, older_than: datetime) -> int:
        """Forget events applied before `older_than` (take longer than topics keep them); return how many."""
        with self._database.writing() as connection:
            return inbox.prune(connection, older_than)

    # --- media -------------------------------------------------------------------------------------------------

    def add_media(self, record: MediaRecord) -> None:
        """Record what is known about stored media; the first record of a media id stays."""
        with self._database.writing() as connection:
            media.add(connection, record)

    def media(self, media_id: str) -> MediaRecord | None:
        """Return what is known about stored media."""
        with self._database.reading() as connection:
            return media.read(connection, media_id)

    # --- outbox ------------------------------------------------------------------------------------------------

    def outbox_add(self, records: Sequence[OutgoingRecord]) -> None:
        """Queue records for the relay, durably."""
        with self._database.writing() as connection:
            outbox.add(connection, records, self._clock.now())

    def outbox_pending(self, limit: int) -> list[tuple[int, OutgoingRecord]]:
        """Return the oldest records that are not sent, each with its number."""
        with self._database.reading() as connection:
            return outbox.pending(connection, limit)

    def outbox_sent(self, numbers: Sequence[int]) -> None:
        """Take records out that the broker has acknowledged."""
        with self._database.writing() as connection:
            outbox.remove(connection, numbers)

    def outbox_size(self) -> int:
        """Return how many records wait."""
        with self._database.reading() as connection:
            return outbox.size(connection)

    # --- traces ------------------------------------------------------------------------------------------------

    def put_traces(self, records: Sequence[TraceRecord]) -> None:
        """Keep traces; one that is there already stays as it is."""
        with self._database.writing() as connection:
            traces.put(connection, records)

    def trace(self, trace_id: str) -> TraceRecord | None:
        """Return a trace, or None when there is none (any more)."""
        with self._database.reading() as connection:
            return traces.read(connection, trace_id)

    def traces(self, trace_ids: Sequence[str]) -> dict[str, TraceRecord]:
        """Return those of the traces that there are, by id."""
        with self._database.reading() as connection:
            return traces.read_many(connection, trace_ids)

    def prune_traces(self, older_than: datetime) -> int:
        """Drop traces made before `older_than`; return how many."""
        with self._database.writing() as connection:
            return traces.prune(connection, older_than)

    # --- model aliases -----------------------------------------------------------------------------------------

    def alias(self, model: str, name: str) -> str | None:
        """Return the version that `name` means for a model."""
        with self._database.reading() as connection:
            return aliases.read(connection, model, name)

    def set_alias(self, model: str, name: str, version: str, actor: str, reason: str) -> None:
        """Point `name` at a version, and remember who did and why."""
        with self._database.writing() as connection:
            aliases.write(connection, model, name, version, actor=actor, reason=reason, now=self._clock.now())

    def alias_history(self, model: str) -> list[AliasChange]:
        """Return every change of a model's aliases, oldest first."""
        with self._database.reading() as connection:
            return aliases.history(connection, model)

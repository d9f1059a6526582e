"""The transactional state of aggregation: one SQLite file, the truth that the online store is a view of.

Tables:
    fences    how far each partition has been applied, per topic incarnation
    journal   what recent batches counted, one packed row a batch, until it is folded into the tables below
    ids       ids of the events of recent batches, one packed row a batch, until they become a run
    runs      files beside this one that hold the ids of all earlier events, while those can still come again
    counts    bucketed counts per entity (hours for the day window, days for the longer ones)
    dirty     entities whose online row is behind their counts
    entities  what was last pushed for an entity, and when its windows next change by themselves

Everything a batch does happens in one transaction, so a crash leaves it done or not done. That transaction appends;
what it appended is also kept in memory. Whoever needs the tables (a push, a sweep, a reader of totals) folds first,
many batches at once, so that an entity counted a hundred times meanwhile is written once.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable
from features.buckets import Buckets, read_buckets
from features.delta import Delta
from features.journal import Journal
from features.known_ids import KnownIds
from features.state_format import Format, open_database
from features.state_meta import Meta
from features.statements import read_columns, write_rows

MAX_FOLD_ROWS = 200_000  # counts kept in memory before `append` folds them itself: about 60 MB


@dataclass(frozen=True)
class Claim:
    """A dirty entity about to be pushed: which change is covered, and the event time its row will carry."""

    view: int
    entity: str
    place: int
    seq: int
    as_of_us: int


def feature_folder(home: Path) -> Path:
    """Return the folder under the home that holds all of the feature state and Feast's files."""
    return home.resolve() / "features"


class FeatureState:
    """Bucketed counts with their fences. Safe for threads; processes take turns by SQLite's locks."""

    def __init__(self, opened: Format) -> None:
        self._db = opened.connection
        self._meta = Meta(self._db)
        self._ids = KnownIds(opened, self._meta)
        self._journal = Journal(self._db, self._meta)
        self._appended = 0  # the number of the last batch, by anybody
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> "FeatureState":
        """Open or create the file; one of an earlier release is brought to this one's format first.

        Raises:
            IntegrityError: it is from a newer release, not a state file, or a file of ids is missing.
            Unavailable: it is locked by another process.
        """
        state = cls(open_database(path))
        try:
            with state.transaction():
                state._ids.remove_strays()
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the write lock; commit at the end, roll back on an exception.

        Raises:
            Unavailable: locked out by another process, or the disk is full; nothing was changed.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._catch_up()
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    self._ids.forget_memory()  # it may be ahead of what was rolled back: it is read again
                    self._journal.forget_memory()
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise Unavailable(f"feature state cannot be written: {error}") from error
            finally:
                self._ids.unlink_replaced()

    # --- what has been applied; call inside a transaction ---------------------------------------------------------

    def fences(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return `{(topic, partition): (epoch, last applied offset)}`."""
        with self._lock:
            rows = self._db.execute("SELECT topic, part, epoch, last_offset FROM fences").fetchall()
        return {(topic, partition): (epoch, offset) for topic, partition, epoch, offset in rows}

    def set_fences(self, fences: Mapping[tuple[str, int], tuple[str, int]]) -> None:
        rows = [(*place, *fence) for place, fence in fences.items()]
        write_rows(self._db, "INSERT OR REPLACE INTO fences", rows)

    def seen(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return those of the event ids (see `seen_ids.digest`) that were counted already."""
        return self._ids.among(digests)

    def forgotten_before_day(self) -> int:
        """Return the first event day whose ids are still known; older events must not be counted any more."""
        return self._ids.forgotten_before_day

    def forget_before(self, day: int) -> None:
        """Drop the event ids of earlier days, for good."""
        self._ids.forget_before(day)

    def append(self, delta: Delta) -> None:
        """Count a batch: durable when the transaction ends."""
        self._appended += 1
        self._meta.set("appended", self._appended)
        self._ids.append(self._appended, delta.ids)
        self._journal.append(self._appended, delta)
        if len(self._journal) >= MAX_FOLD_ROWS:
            self._journal.fold()

    # --- how much there is ----------------------------------------------------------------------------------------

    def kept_ids(self) -> int:
        """Return how many event ids are known."""
        with self.transaction():
            return len(self._ids)

    def in_memory(self) -> tuple[int, int]:
        """Return how many event ids, and how many counts, are in memory."""
        with self._lock:
            return self._ids.in_memory, len(self._journal)

    # --- pushing ---------------------------------------------------------------------------------------------------

    def claim(self, limit: int, now_us: int) -> tuple[list[Claim], Buckets]:
        """Take the longest-waiting dirty entities and their buckets, and reserve a growing event time for each.

        The reservation is durable before anything is pushed: a push repeated after a crash has a later event time,
        which a store that drops equal times needs.
        """
        with self.transaction():
            self._journal.fold()
            columns = read_columns(
                self._db,
                "FROM (SELECT * FROM dirty ORDER BY place LIMIT ?) d LEFT JOIN entities e USING (view, entity)",
                ("view", "entity", "place", "seq", "max(?, d.newest_us + 1, coalesce(e.pushed_us, 0) + 1)"),
                now_us,
                limit,
            )
            claims = [Claim(*row) for row in zip(*columns, strict=True)]
            write_rows(
                self._db,
                "INSERT INTO entities (view, entity, pushed_us)",
                [(claim.view, claim.entity, claim.as_of_us) for claim in claims],
                "ON CONFLICT DO UPDATE SET pushed_us = excluded.pushed_us",
            )
            return claims, read_buckets(self._db, [(claim.view, claim.entity) for claim in claims])

    def settle(self, claims: Sequence[Claim], due_us: Sequence[int | None]) -> None:
        """Record that the claims are in the online store; an entity that changed meanwhile stays dirty."""
        with self.transaction():
            dirty = [(claim.place, claim.seq) for claim in claims]
            write_rows(self._db, "DELETE FROM dirty WHERE (place, seq) IN (", dirty, ")")
            write_rows(
                self._db,
                "INSERT INTO entities (view, entity, pushed_us, due_us)",
                [(claim.view, claim.entity, claim.as_of_us, due) for claim, due in zip(claims, due_us, strict=True)],
                "ON CONFLICT DO UPDATE SET due_us = excluded.due_us",
            )

    def mark_due(self, now_us: int, oldest_start_us: Sequence[int], forget_before_us: int) -> int:
        """Mark dirty every entity whose windows changed by themselves before `now_us`; return how many.

        Args:
            oldest_start_us: per bucket width, the start of the oldest bucket that any window still holds.
            forget_before_us: entities with empty windows, last pushed before this, are forgotten.
        """
        with self.transaction():
            self._journal.fold()
            due = "(SELECT view, entity FROM entities WHERE due_us < ?)"
            count = int(self._db.execute(f"SELECT count(*) FROM {due}", (now_us,)).fetchone()[0])
            self._db.execute(
                f"INSERT INTO dirty (view, entity, seq, newest_us) SELECT view, entity, ?, 0 FROM {due} WHERE true"
                " ON CONFLICT (view, entity) DO UPDATE SET seq = excluded.seq",
                (self._meta.next("seq"), now_us),
            )
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute(
                    f"DELETE FROM counts WHERE width = ? AND start_us < ? AND (view, entity) IN {due}",
                    (width, start_us, now_us),
                )
            self._db.execute("DELETE FROM entities WHERE due_us IS NULL AND pushed_us < ?", (forget_before_us,))
            return count

    def prune(self, oldest_start_us: Sequence[int]) -> None:
        """Drop every bucket older than any window holds (one start per bucket width), and entities left without."""
        with self.transaction():
            self._journal.fold()
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute("DELETE FROM counts WHERE width = ? AND start_us < ?", (width, start_us))
            self._db.execute(
                "DELETE FROM dirty WHERE NOT EXISTS"
                " (SELECT 1 FROM counts c WHERE c.view = dirty.view AND c.entity = dirty.entity)"
            )

    def forget_totals(self, view: int, oldest_start_us: Sequence[int]) -> None:
        """Drop buckets older than any window holds (one start per bucket width) of a view that is never pushed."""
        with self.transaction():
            self._journal.fold()
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute(
                    "DELETE FROM counts WHERE view = ? AND width = ? AND start_us < ?", (view, width, start_us)
                )

    def totals(self, view: int) -> tuple[list[str], Buckets]:
        """Return the entities of a view, and their buckets (`group` is the place in the list). All of it is read."""
        with self.transaction():
            self._journal.fold()
            rows = self._db.execute("SELECT DISTINCT entity FROM counts WHERE view = ?", (view,)).fetchall()
            entities = [entity for (entity,) in rows]
            return entities, read_buckets(self._db, [(view, entity) for entity in entities])

    def dirty_count(self) -> int:
        """Return how many entities wait to be pushed."""
        with self.transaction():
            self._journal.fold()
            return int(self._db.execute("SELECT count(*) FROM dirty").fetchone()[0])

    def pushed(self) -> list[tuple[int, str, int]]:
        """Return `(view id, entity id, event time last pushed)` of every entity not forgotten since."""
        with self._lock:
            return self._db.execute("SELECT view, entity, pushed_us FROM entities").fetchall()

    def carry_over(self, pushed: Iterable[tuple[int, str, int]]) -> None:
        """Take over what another state had pushed: those rows are pushed anew, with later event times."""
        rows = list(pushed)
        with self.transaction():
            self._journal.fold()
            seq = self._meta.next("seq")
            write_rows(self._db, "INSERT INTO entities (view, entity, pushed_us)", rows)
            write_rows(
                self._db,
                "INSERT INTO dirty (view, entity, seq, newest_us)",
                [(view, entity, seq, 0) for view, entity, _ in rows],
                "ON CONFLICT DO NOTHING",
            )

    def _catch_up(self) -> None:
        meta = self._meta.all()
        self._ids.catch_up(meta)
        self._journal.catch_up(meta)
        self._appended = meta["appended"]

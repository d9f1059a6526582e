"""The transactional state of aggregation: one SQLite file, the truth that the online store is a view of.

Tables:
    fences    how far each partition has been applied, per topic incarnation
    seen      ids of the events that were counted, while they can still come again
    counts    bucketed counts per entity (hours for the day window, days for the longer ones)
    dirty     entities whose online row is behind their counts
    entities  what was last pushed for an entity, and when its windows next change by themselves

Everything a batch does happens in one transaction, so a crash leaves it done or not done.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import IntegrityError, Unavailable
from features.schema import BUCKET_WIDTHS_US, COUNTS
from features.transforms.windows import Ints

VERSION = 1
_CHUNK = 10_000  # bound variables in one statement
_SCHEMA = """
CREATE TABLE fences (topic TEXT, part INTEGER, epoch TEXT, last_offset INTEGER,
    PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE seen (id BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_by_day ON seen (day);
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
INSERT INTO meta VALUES ('seq', 0), ('forgotten_before_day', -1);
"""

EntityKey = tuple[int, str]  # (view id, entity id)
BucketKey = tuple[int, str, int, int]  # (view id, entity id, width index, start_us)


@dataclass(frozen=True)
class Claim:
    """A dirty entity about to be pushed: which change is covered, and the event time its row will carry."""

    view: int
    entity: str
    seq: int
    as_of_us: int


@dataclass(frozen=True)
class Buckets:
    """The buckets of claimed entities: `group` is the position of the claim, widths and starts in microseconds."""

    group: Ints  # (n,)
    width_us: Ints  # (n,)
    start_us: Ints  # (n,)
    counts: Ints  # (n, len(COUNTS))


def feature_folder(home: Path) -> Path:
    """Return the folder under the home that holds all of the feature state and Feast's files."""
    return home.resolve() / "features"


class FeatureState:
    """Bucketed counts with their fences. Safe for threads; processes take turns by SQLite's locks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> "FeatureState":
        """Open or create the file. Raises IntegrityError when it is from a newer release or not a state file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # Each commit reaches the disk: source offsets are committed after it and must not run ahead of it.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cache_size = -65536")
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            db.close()
            raise IntegrityError(f"{path} is not feature state: {error}; run the feature rebuild") from error
        if version > VERSION:
            db.close()
            raise IntegrityError(f"{path} has format {version}, this release knows {VERSION}; use the newer release")
        return cls(db)

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
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise Unavailable(f"feature state cannot be written: {error}") from error

    # --- what has been applied; call inside a transaction ---------------------------------------------------------

    def fences(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return `{(topic, partition): (epoch, last applied offset)}`."""
        with self._lock:
            rows = self._db.execute("SELECT topic, part, epoch, last_offset FROM fences").fetchall()
        return {(topic, partition): (epoch, offset) for topic, partition, epoch, offset in rows}

    def set_fences(self, fences: Mapping[tuple[str, int], tuple[str, int]]) -> None:
        rows = [(*place, *fence) for place, fence in fences.items()]
        self._db.executemany("INSERT OR REPLACE INTO fences VALUES (?, ?, ?, ?)", rows)

    def seen(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the event ids that were counted already."""
        found: set[bytes] = set()
        for first in range(0, len(ids), _CHUNK):
            chunk = ids[first : first + _CHUNK]
            marks = ",".join("?" * len(chunk))
            found.update(row[0] for row in self._db.execute(f"SELECT id FROM seen WHERE id IN ({marks})", chunk))
        return found

    def remember(self, ids: Iterable[tuple[bytes, int]]) -> None:
        """Record `(event id, event day)` as counted."""
        self._db.executemany("INSERT INTO seen VALUES (?, ?)", ids)

    def forgotten_before_day(self) -> int:
        """Return the first event day whose ids are still known; older events must not be counted any more."""
        return int(self._db.execute("SELECT value FROM meta WHERE name = 'forgotten_before_day'").fetchone()[0])

    def forget_before(self, day: int) -> None:
        """Drop the event ids of earlier days, for good."""
        if day > self.forgotten_before_day():
            self._db.execute("DELETE FROM seen WHERE day < ?", (day,))
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'forgotten_before_day'", (day,))

    def add(self, counts: Mapping[BucketKey, Sequence[int]], newest_us: Mapping[EntityKey, int]) -> None:
        """Add counts to buckets, and mark the entities dirty with the newest event time each has seen."""
        self._db.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " impressions = impressions + excluded.impressions, clicks = clicks + excluded.clicks,"
            " time_spent_ms = time_spent_ms + excluded.time_spent_ms",
            [(*key, *added) for key, added in counts.items()],
        )
        seq = self._next_seq()
        self._db.executemany(
            "INSERT INTO dirty (view, entity, seq, newest_us) VALUES (?, ?, ?, ?) ON CONFLICT (view, entity) DO UPDATE"
            " SET seq = excluded.seq, newest_us = max(newest_us, excluded.newest_us)",
            [(view, entity, seq, newest) for (view, entity), newest in newest_us.items()],
        )

    # --- pushing ---------------------------------------------------------------------------------------------------

    def claim(self, limit: int, now_us: int) -> tuple[list[Claim], Buckets]:
        """Take the longest-waiting dirty entities and their buckets, and reserve a growing event time for each.

        The reservation is durable before anything is pushed: a push repeated after a crash has a later event time,
        which a store that drops equal times needs.
        """
        with self.transaction():
            rows = self._db.execute(
                "SELECT d.view, d.entity, d.seq, max(?, d.newest_us + 1, coalesce(e.pushed_us, 0) + 1)"
                " FROM (SELECT * FROM dirty ORDER BY place LIMIT ?) d LEFT JOIN entities e USING (view, entity)",
                (now_us, limit),
            ).fetchall()
            claims = [Claim(*row) for row in rows]
            self._db.executemany(
                "INSERT INTO entities VALUES (?, ?, ?, NULL) ON CONFLICT DO UPDATE SET pushed_us = excluded.pushed_us",
                [(claim.view, claim.entity, claim.as_of_us) for claim in claims],
            )
            return claims, self._buckets(claims)

    def settle(self, claims: Sequence[Claim], due_us: Sequence[int | None]) -> None:
        """Record that the claims are in the online store; an entity that changed meanwhile stays dirty."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM dirty WHERE view = ? AND entity = ? AND seq = ?",
                [(claim.view, claim.entity, claim.seq) for claim in claims],
            )
            self._db.executemany(
                "UPDATE entities SET due_us = ? WHERE view = ? AND entity = ?",
                [(due, claim.view, claim.entity) for claim, due in zip(claims, due_us, strict=True)],
            )

    def mark_due(self, now_us: int, oldest_start_us: Sequence[int], forget_before_us: int) -> int:
        """Mark dirty every entity whose windows changed by themselves before `now_us`; return how many.

        Args:
            oldest_start_us: per bucket width, the start of the oldest bucket that any window still holds.
            forget_before_us: entities with empty windows, last pushed before this, are forgotten.
        """
        with self.transaction():
            due = self._db.execute("SELECT view, entity FROM entities WHERE due_us < ?", (now_us,)).fetchall()
            seq = self._next_seq()
            self._db.executemany(
                "INSERT INTO dirty (view, entity, seq, newest_us) VALUES (?, ?, ?, 0)"
                " ON CONFLICT (view, entity) DO UPDATE SET seq = excluded.seq",
                [(view, entity, seq) for view, entity in due],
            )
            for width, start_us in enumerate(oldest_start_us):
                self._db.executemany(
                    "DELETE FROM counts WHERE view = ? AND entity = ? AND width = ? AND start_us < ?",
                    [(view, entity, width, start_us) for view, entity in due],
                )
            self._db.execute("DELETE FROM entities WHERE due_us IS NULL AND pushed_us < ?", (forget_before_us,))
            return len(due)

    def prune(self, oldest_start_us: Sequence[int]) -> None:
        """Drop every bucket older than any window holds (one start per bucket width), and entities left without."""
        with self.transaction():
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute("DELETE FROM counts WHERE width = ? AND start_us < ?", (width, start_us))
            self._db.execute(
                "DELETE FROM dirty WHERE NOT EXISTS"
                " (SELECT 1 FROM counts c WHERE c.view = dirty.view AND c.entity = dirty.entity)"
            )

    def forget_totals(self, view: int, oldest_start_us: Sequence[int]) -> None:
        """Drop buckets older than any window holds (one start per bucket width) of a view that is never pushed."""
        with self.transaction():
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute(
                    "DELETE FROM counts WHERE view = ? AND width = ? AND start_us < ?", (view, width, start_us)
                )

    def totals(self, view: int) -> tuple[list[str], Buckets]:
        """Return the entities of a view that is never pushed, and their buckets (`group` is the place in the list).

        For views of few entities: all of it is read.
        """
        with self._lock:
            rows = self._db.execute("SELECT DISTINCT entity FROM counts WHERE view = ?", (view,)).fetchall()
            entities = [entity for (entity,) in rows]
            return entities, self._buckets([Claim(view, entity, 0, 0) for entity in entities])

    def dirty_count(self) -> int:
        """Return how many entities wait to be pushed."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM dirty").fetchone()[0])

    def pushed(self) -> list[tuple[int, str, int]]:
        """Return `(view id, entity id, event time last pushed)` of every entity not forgotten since."""
        with self._lock:
            return self._db.execute("SELECT view, entity, pushed_us FROM entities").fetchall()

    def carry_over(self, pushed: Iterable[tuple[int, str, int]]) -> None:
        """Take over what another state had pushed: those rows are pushed anew, with later event times."""
        rows = list(pushed)
        with self.transaction():
            seq = self._next_seq()
            self._db.executemany("INSERT INTO entities VALUES (?, ?, ?, NULL)", rows)
            self._db.executemany(
                "INSERT INTO dirty (view, entity, seq, newest_us) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
                [(view, entity, seq) for view, entity, _ in rows],
            )

    def _buckets(self, claims: Sequence[Claim]) -> Buckets:
        position = {(claim.view, claim.entity): index for index, claim in enumerate(claims)}
        rows: list[tuple[int, ...]] = []
        for view in {claim.view for claim in claims}:
            entities = [claim.entity for claim in claims if claim.view == view]
            for first in range(0, len(entities), _CHUNK):
                chunk = entities[first : first + _CHUNK]
                rows += (
                    (position[view, entity], BUCKET_WIDTHS_US[width], *rest)
                    for entity, width, *rest in self._db.execute(
                        "SELECT entity, width, start_us, impressions, clicks, time_spent_ms FROM counts"
                        f" WHERE view = ? AND entity IN ({','.join('?' * len(chunk))})",
                        (view, *chunk),
                    )
                )
        table = np.array(rows, np.int64).reshape(len(rows), 3 + len(COUNTS))
        return Buckets(table[:, 0], table[:, 1], table[:, 2], table[:, 3:])

    def _next_seq(self) -> int:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'seq'")
        return int(self._db.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0])

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

import msgspec
import numpy as np

from core.errors import IntegrityError, Unavailable
from features import seen_ids
from features.schema import BUCKET_WIDTHS_US, COUNTS
from features.seen_ids import Run
from features.state_format import Format, open_database
from features.statements import as_json, read_columns, write_rows
from features.transforms.windows import Ints

MAX_FOLD_ROWS = 200_000  # counts kept in memory before `append` folds them itself: about 60 MB

EntityKey = tuple[int, str]  # (view id, entity id)
HourKey = tuple[int, str, int]  # (view id, entity id, start of the hour in microseconds)


@dataclass(frozen=True)
class Delta:
    """What a batch adds: ids of its events with their days, counts by hour, and the newest event of each entity."""

    ids: Mapping[bytes, int]
    counts: Mapping[HourKey, Sequence[int]]
    newest_us: Mapping[EntityKey, int]


_Packed = tuple[list[tuple[int, str, int, int, int, int]], list[tuple[int, str, int]]]
_PACKED = msgspec.msgpack.Decoder(_Packed)


@dataclass(frozen=True)
class Claim:
    """A dirty entity about to be pushed: which change is covered, and the event time its row will carry."""

    view: int
    entity: str
    place: int
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

    def __init__(self, opened: Format) -> None:
        self._db = opened.connection
        self._folder = opened.runs_folder
        self._prefix = opened.runs_prefix
        self._lock = threading.RLock()
        self._forgotten = -1
        self._forget_memory()

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
                state._remove_strays()
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
                    self._forget_memory()  # it may be ahead of what was rolled back: it is read again
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise Unavailable(f"feature state cannot be written: {error}") from error
            finally:
                self._unlink_replaced()

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
        recent = {key for key in digests if key in self._recent}
        return recent | seen_ids.search(self._runs, digests, self._forgotten)

    def forgotten_before_day(self) -> int:
        """Return the first event day whose ids are still known; older events must not be counted any more."""
        return self._forgotten

    def forget_before(self, day: int) -> None:
        """Drop the event ids of earlier days, for good."""
        if day > self._forgotten:
            self._set_meta("forgotten_before_day", day)
            self._forgotten = day
            self._make_run()
            for run in [run for run in self._runs if bool((run.day < day).any())]:
                self._replace_runs([run])

    def kept_ids(self) -> int:
        """Return how many event ids are known."""
        with self.transaction():
            return len(self._recent) + sum(len(run.high) for run in self._runs)

    def append(self, delta: Delta) -> None:
        """Count a batch: durable when the transaction ends."""
        self._seq += 1
        if delta.ids:
            self._db.execute("INSERT INTO ids VALUES (?, ?)", (self._seq, seen_ids.pack(dict(delta.ids))))
        counts = [(*key, *added) for key, added in delta.counts.items()]
        packed = msgspec.msgpack.encode((counts, [(*key, newest) for key, newest in delta.newest_us.items()]))
        self._db.execute("INSERT INTO journal VALUES (?, ?)", (self._seq, packed))
        self._set_meta("appended", self._seq)
        self._recent.update(delta.ids)
        self._absorb(delta.counts, delta.newest_us)
        if len(self._recent) >= seen_ids.RUN_IDS:
            self._make_run()
        if len(self._counts) >= MAX_FOLD_ROWS:
            self._fold()

    # --- pushing ---------------------------------------------------------------------------------------------------

    def claim(self, limit: int, now_us: int) -> tuple[list[Claim], Buckets]:
        """Take the longest-waiting dirty entities and their buckets, and reserve a growing event time for each.

        The reservation is durable before anything is pushed: a push repeated after a crash has a later event time,
        which a store that drops equal times needs.
        """
        with self.transaction():
            self._fold()
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
            return claims, self._buckets(claims)

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
            self._fold()
            due = "(SELECT view, entity FROM entities WHERE due_us < ?)"
            count = int(self._db.execute(f"SELECT count(*) FROM {due}", (now_us,)).fetchone()[0])
            self._db.execute(
                f"INSERT INTO dirty (view, entity, seq, newest_us) SELECT view, entity, ?, 0 FROM {due} WHERE true"
                " ON CONFLICT (view, entity) DO UPDATE SET seq = excluded.seq",
                (self._next_seq(), now_us),
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
            self._fold()
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute("DELETE FROM counts WHERE width = ? AND start_us < ?", (width, start_us))
            self._db.execute(
                "DELETE FROM dirty WHERE NOT EXISTS"
                " (SELECT 1 FROM counts c WHERE c.view = dirty.view AND c.entity = dirty.entity)"
            )

    def forget_totals(self, view: int, oldest_start_us: Sequence[int]) -> None:
        """Drop buckets older than any window holds (one start per bucket width) of a view that is never pushed."""
        with self.transaction():
            self._fold()
            for width, start_us in enumerate(oldest_start_us):
                self._db.execute(
                    "DELETE FROM counts WHERE view = ? AND width = ? AND start_us < ?", (view, width, start_us)
                )

    def totals(self, view: int) -> tuple[list[str], Buckets]:
        """Return the entities of a view, and their buckets (`group` is the place in the list). All of it is read."""
        with self.transaction():
            self._fold()
            rows = self._db.execute("SELECT DISTINCT entity FROM counts WHERE view = ?", (view,)).fetchall()
            entities = [entity for (entity,) in rows]
            return entities, self._buckets([Claim(view, entity, 0, 0, 0) for entity in entities])

    def dirty_count(self) -> int:
        """Return how many entities wait to be pushed."""
        with self.transaction():
            self._fold()
            return int(self._db.execute("SELECT count(*) FROM dirty").fetchone()[0])

    def pushed(self) -> list[tuple[int, str, int]]:
        """Return `(view id, entity id, event time last pushed)` of every entity not forgotten since."""
        with self._lock:
            return self._db.execute("SELECT view, entity, pushed_us FROM entities").fetchall()

    def carry_over(self, pushed: Iterable[tuple[int, str, int]]) -> None:
        """Take over what another state had pushed: those rows are pushed anew, with later event times."""
        rows = list(pushed)
        with self.transaction():
            self._fold()
            seq = self._next_seq()
            write_rows(self._db, "INSERT INTO entities (view, entity, pushed_us)", rows)
            write_rows(
                self._db,
                "INSERT INTO dirty (view, entity, seq, newest_us)",
                [(view, entity, seq, 0) for view, entity, _ in rows],
                "ON CONFLICT DO NOTHING",
            )

    # --- memory, and what becomes of it -----------------------------------------------------------------------------

    def _forget_memory(self) -> None:
        """Begin as if nothing was read yet; `_catch_up` reads it."""
        self._versions = (-1, -1)  # how often the journal was folded and the runs changed, by anybody
        self._seq = 0  # of the last batch that is in memory
        self._forgotten = -1
        self._counts: dict[HourKey, list[int]] = {}
        self._newest_us: dict[EntityKey, int] = {}
        self._recent: dict[bytes, int] = {}
        self._runs: list[Run] = []
        self._replaced: list[Path] = []

    def _catch_up(self) -> None:
        """Read what is durable and not in memory: all of it at first, later what other processes did."""
        meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        versions = (meta["folds"], meta["runs"])
        if versions != self._versions:
            self._forget_memory()
            self._versions = versions
            names = self._db.execute("SELECT name FROM runs ORDER BY name").fetchall()
            self._runs = [self._open_run(name) for (name,) in names]
        self._forgotten = meta["forgotten_before_day"]
        if meta["appended"] == self._seq:
            return
        after = (self._seq,)
        for (packed,) in self._db.execute("SELECT ids FROM ids WHERE seq > ?", after).fetchall():
            self._recent.update(seen_ids.unpack(packed))
        for (packed,) in self._db.execute("SELECT delta FROM journal WHERE seq > ?", after).fetchall():
            counts, newest = _PACKED.decode(packed)
            self._absorb({row[:3]: row[3:] for row in counts}, {row[:2]: row[2] for row in newest})
        self._seq = meta["appended"]

    def _absorb(self, counts: Mapping[HourKey, Sequence[int]], newest_us: Mapping[EntityKey, int]) -> None:
        for key, added in counts.items():
            held = self._counts.get(key)
            if held is None:
                self._counts[key] = list(added)
            else:
                for index, number in enumerate(added):
                    held[index] += number
        for entity, newest in newest_us.items():
            if newest > self._newest_us.get(entity, -1):
                self._newest_us[entity] = newest

    def _fold(self) -> None:
        """Bring what is in memory, hence the journal, into the tables."""
        if not self._counts and not self._newest_us:
            return
        for width, width_us in enumerate(BUCKET_WIDTHS_US):
            write_rows(
                self._db,
                "INSERT INTO counts",
                _buckets_of(self._counts, width, width_us),
                "ON CONFLICT DO UPDATE SET impressions = impressions + excluded.impressions,"
                " clicks = clicks + excluded.clicks, time_spent_ms = time_spent_ms + excluded.time_spent_ms",
            )
        seq = self._next_seq()
        write_rows(
            self._db,
            "INSERT INTO dirty (view, entity, seq, newest_us)",
            [(view, entity, seq, newest) for (view, entity), newest in self._newest_us.items()],
            "ON CONFLICT (view, entity) DO UPDATE"
            " SET seq = excluded.seq, newest_us = max(newest_us, excluded.newest_us)",
        )
        self._db.execute("DELETE FROM journal")
        self._set_meta("folds", self._versions[0] + 1)
        self._versions = (self._versions[0] + 1, self._versions[1])
        self._counts, self._newest_us = {}, {}

    def _make_run(self) -> None:
        """Move the ids in memory to a run, and merge it with runs that are not much larger."""
        if not self._recent:
            return
        run = seen_ids.write_run(self._new_path(), self._recent, self._forgotten)
        self._db.execute("DELETE FROM ids")
        self._recent = {}
        self._runs += [run] if run is not None else []
        self._note_runs()
        if run is not None and (count := seen_ids.runs_to_merge([len(each.high) for each in self._runs])) > 1:
            self._replace_runs(self._runs[-count:])

    def _replace_runs(self, runs: Sequence[Run]) -> None:
        """Make one run of several, without what is forgotten."""
        made = seen_ids.merge_runs(self._new_path(), runs, self._forgotten)
        self._replaced += [run.path for run in runs]
        self._runs = [run for run in self._runs if run not in runs] + ([made] if made is not None else [])
        self._note_runs()

    def _note_runs(self) -> None:
        self._db.execute("DELETE FROM runs")
        write_rows(self._db, "INSERT INTO runs", [(run.path.name,) for run in self._runs])
        self._set_meta("runs", self._versions[1] + 1)
        self._versions = (self._versions[0], self._versions[1] + 1)

    def _new_path(self) -> Path:
        # Names grow, so that the order of names is the order of age.
        number = int(self._db.execute("SELECT value FROM meta WHERE name = 'run_names'").fetchone()[0]) + 1
        self._set_meta("run_names", number)
        path = self._folder / f"{self._prefix}-{number:09d}.ids"
        path.unlink(missing_ok=True)  # of a transaction that was rolled back
        return path

    def _open_run(self, name: str) -> Run:
        try:
            return Run.open(self._folder / name)
        except (OSError, ValueError) as error:
            raise IntegrityError(f"event ids are missing: {error}; run the feature rebuild") from error

    def _unlink_replaced(self) -> None:
        for path in self._replaced:
            path.unlink(missing_ok=True)
        self._replaced = []

    def _remove_strays(self) -> None:
        """Remove files that a crash left between writing them and noting them; in a transaction nobody writes any."""
        known = {run.path.name for run in self._runs}
        for path in self._folder.glob(f"{self._prefix}-*.ids"):
            if path.name not in known:
                path.unlink()

    def _buckets(self, claims: Sequence[Claim]) -> Buckets:
        columns: list[list[int]] = [[] for _ in range(3 + len(COUNTS))]
        for view in sorted({claim.view for claim in claims}):
            places = [index for index, claim in enumerate(claims) if claim.view == view]
            found = read_columns(
                self._db,
                # The list is walked and the counts are searched, never the other way round.
                "FROM json_each(?) asked CROSS JOIN counts c ON c.view = ? AND c.entity = asked.value",
                ("asked.key", "c.width", "c.start_us", *(f"c.{name}" for name in COUNTS)),
                as_json([claims[index].entity for index in places]),
                view,
            )
            columns[0] += [places[key] for key in found[0]]
            columns[1] += [BUCKET_WIDTHS_US[width] for width in found[1]]
            for column, values in zip(columns[2:], found[2:], strict=True):
                column += values
        group, width_us, start_us, *counts = (np.array(column, np.int64) for column in columns)
        return Buckets(group, width_us, start_us, np.stack(counts, axis=1))

    def _next_seq(self) -> int:
        seq = int(self._db.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0]) + 1
        self._set_meta("seq", seq)
        return seq

    def _set_meta(self, name: str, value: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))


def _buckets_of(counts: Mapping[HourKey, Sequence[int]], width: int, width_us: int) -> list[tuple[int | str, ...]]:
    """Return rows of the table of counts, of one bucket width, in the order of its key."""
    sums: dict[HourKey, list[int]] = {}
    for (view, entity, hour_us), added in counts.items():
        held = sums.setdefault((view, entity, hour_us - hour_us % width_us), [0] * len(COUNTS))
        for index, number in enumerate(added):
            held[index] += number
    return [(view, entity, width, start_us, *row) for (view, entity, start_us), row in sorted(sums.items())]

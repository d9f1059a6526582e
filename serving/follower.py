"""Keeps the live index equal to `index.entries.v1`: a snapshot, then the log from the snapshot's offsets, for ever.

Two threads. The follower polls the log and applies what it reads: it does nothing else, for its pace is how fresh
search is. The keeper does what may take long: snapshots, the distance to the end, and whether the log is still the same
one. Every replica does this for itself and so comes to the same state; a restart loses nothing.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from core.clock import Clock
from core.entries import VERSION_HEADER, Version, decode_entry
from core.errors import InvalidEvent, InvalidVector, Unavailable
from core.ports import StoredRecord
from core.settings import IndexSettings
from models.index import LiveIndex, load_snapshot
from models.index.capture import Capture
from models.index.verify import fingerprint
from monitoring.catalogue import (
    FRESHNESS,
    INDEX_BYTES,
    INDEX_ITEMS,
    INDEX_LAG,
    INDEX_SNAPSHOT_AGE,
)
from monitoring.catalogue import INDEX_ENTRIES as ENTRIES_READ
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer, parent_in
from serving.entry_log import EntryLog
from serving.served_index import ServedIndex

_log = structlog.get_logger(__name__)

_POLL_RECORDS = 500
_POLL_S = 0.2
_KEEP_EVERY_S = 5.0
_BACKOFF_S = 1.0
_VERIFY_TIMEOUT_S = 300.0
_REBUILD_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Verification:
    """The live index beside one built from the log at the same place in it. Ids are item ids."""

    equal: bool
    items: int
    records: int
    live_hash: str
    rebuilt_hash: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]


class _LogRestarted(Exception):
    """What was applied so far may not be in the log, or is to be read again: begin from the log's beginning."""


class IndexFollower:
    """Follows the log in background threads between `start()` and `close()`."""

    def __init__(
        self,
        *,
        served: ServedIndex,
        log: EntryLog,
        folder: Path,
        settings: IndexSettings,
        recorder: Recorder,
        clock: Clock,
        name: str = "visual",
        tracer: Tracer = NO_TRACING,
    ) -> None:
        """`folder` holds the snapshots. Entries of another model than the served index's are counted, not applied."""
        self._served = served
        self._log = log
        self._folder = folder
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._name = name
        self._tracer = tracer
        self._dim = served.current.dim
        self._model_version = served.current.model_version
        self._index: LiveIndex | None = None  # the one being fed; served once it has caught up
        self._positions: dict[int, int] = {}
        self._epoch = ""
        self._distrust_snapshots = False
        self._restarted = threading.Event()  # set by the keeper, acted on by the follower
        self._rebuild_wanted = threading.Event()
        self._applying = threading.Lock()  # held while records are applied: index and positions agree outside it
        self._saving = threading.Lock()
        self._stop = threading.Event()
        self._started_ms = int(clock.now().timestamp() * 1000)
        self._tick = clock.monotonic()
        self._problem = "the index has not read the log to its end yet"
        self._caught_up = False
        self._changes = 0
        self._saved_changes = 0
        self._threads: list[threading.Thread] = []
        self.counts = {"applied": 0, "stale": 0, "other_model": 0, "invalid": 0}
        self.rebuilds = 0

    def start(self) -> None:
        """Load the newest valid snapshot and begin to follow."""
        for name, run in (("index-follower", self._run), ("index-keeper", self._keep)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop following and write a last snapshot, so that the next start has little to read."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        if self._caught_up:
            self._snapshot()

    def verify(self, timeout_s: float = _VERIFY_TIMEOUT_S) -> Verification:
        """Build an index from the beginning of the log and compare it with the live one at the same offsets.

        Taking the two pictures that are compared holds the follower up for a moment; nothing else does.

        Raises:
            Unavailable: the log did not answer, or changed faster than it could be read.
        """
        rebuilt = LiveIndex(
            self._dim,
            self._model_version,
            self._settings.model_copy(update={"kind": "flat"}),
            folder=self._folder,
            in_memory=False,  # it is compared, not searched
        )
        reader = self._log.open({})
        deadline = self._clock.monotonic() + timeout_s
        pending: list[StoredRecord] = []
        records = 0
        try:
            while self._clock.monotonic() < deadline:
                pending += reader.poll(_POLL_RECORDS, _POLL_S)
                if len(pending) < _POLL_RECORDS and not reader.caught_up():
                    continue
                with self._applying:
                    ahead = [record for record in pending if record.offset >= self._positions.get(record.partition, 0)]
                    records += len(pending) - len(ahead)
                    for record in pending:
                        if record.offset < self._positions.get(record.partition, 0):
                            self._apply_quietly(rebuilt, record)
                    pending = ahead
                    pictures = None
                    if self._index is not None and reader.caught_up():
                        pictures = self._index.capture(), rebuilt.capture()
                if pictures is not None:
                    return _compare(*pictures, records)
        finally:
            reader.close()
            rebuilt.close()
        raise Unavailable(f"the log could not be read to its end in {timeout_s:g} s")

    def rebuild(self, timeout_s: float = _REBUILD_TIMEOUT_S) -> int:
        """Read the log again from its beginning and serve the result; return how many items it holds.

        Searches are answered by the old index until then.

        Raises:
            Unavailable: it took longer than `timeout_s`; it goes on.
        """
        before = self._served.current
        self._distrust_snapshots = True
        self._rebuild_wanted.set()
        deadline = self._clock.monotonic() + timeout_s
        while self._served.current is before:
            if self._clock.monotonic() > deadline or self._stop.wait(0.05):
                raise Unavailable(f"the index was not rebuilt within {timeout_s:g} s; it goes on in the background")
        return len(self._served.current)

    def snapshot(self) -> Path:
        """Write a snapshot now, whether or not anything changed. Raises Unavailable before the index has caught up."""
        path = self._snapshot(force=True) if self._caught_up else None
        if path is None:
            raise Unavailable(f"there is nothing to save yet: {self._problem}")
        return path

    def ready(self) -> tuple[bool, str]:
        """Tell whether the index has once held everything that the log held; if not, why."""
        return self._caught_up, "" if self._caught_up else self._problem

    def alive(self, within_s: float = 15.0) -> bool:
        """Tell whether the follower's loop has turned in the last `within_s` seconds."""
        return self._clock.monotonic() - self._tick < within_s

    def describe(self) -> dict[str, Any]:
        """Return where the follower is and what it has met, for `GET /v1/index`."""
        return {
            **self._served.describe(),
            "caught_up": self._caught_up,
            "entries": dict(self.counts),
            "rebuilds": self.rebuilds,
            "problem": "" if self._caught_up else self._problem,
        }

    # The follower ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except _LogRestarted as restart:
                _log.warning("index_log_restarted", reason=str(restart))
                self._index = None
                self.rebuilds += 1
            except Unavailable as error:
                self._problem = str(error)
                _log.warning("index_log_unavailable", error=str(error))
                self._pause()
            except Exception as error:  # dying here would freeze search at an old state while all looks well
                self._problem = f"the follower failed: {error}"
                _log.exception("index_follower_failed")
                self._pause()

    def _follow(self) -> None:
        self._begin(self._log.epoch())
        reader = self._log.open(self._positions)
        try:
            self._refuse_regression(reader.end_offsets())
            caught_up = False
            while not self._stop.is_set():
                self._tick = self._clock.monotonic()
                if self._restarted.is_set():
                    self._restarted.clear()
                    raise _LogRestarted("its incarnation changed or its end moved back")
                if self._rebuild_wanted.is_set():
                    self._rebuild_wanted.clear()
                    raise _LogRestarted("a rebuild was asked for")
                records = reader.poll(_POLL_RECORDS, _POLL_S)
                with self._applying:
                    self._apply_all(records)
                if not caught_up and reader.caught_up():
                    caught_up = True
                    self._serve()
                self._served.positions = dict(self._positions)
        finally:
            reader.close()

    def _begin(self, epoch: str) -> None:
        """Have an index and the positions to go on from: the ones at hand, a snapshot, or nothing from the start."""
        if self._index is not None and self._epoch == epoch:
            return
        self._restarted.clear()
        self._epoch = epoch
        self._index, self._positions = self._from_snapshot(epoch)
        self._distrust_snapshots = False
        if not self._caught_up:  # nothing better is being served, so what the snapshot holds is a start
            self._serve_index()

    def _from_snapshot(self, epoch: str) -> tuple[LiveIndex, dict[int, int]]:
        if not self._distrust_snapshots:
            snapshot = load_snapshot(
                self._folder,
                self._settings,
                model_version=self._model_version,
                on_skipped=lambda reason: _log.warning("index_snapshot_skipped", reason=reason),
            )
            if snapshot is not None and snapshot.epoch == epoch and snapshot.index.dim == self._dim:
                _log.info("index_snapshot_loaded", items=len(snapshot.index))
                return snapshot.index, dict(snapshot.positions)
            if snapshot is not None:
                snapshot.index.close()
        return LiveIndex(self._dim, self._model_version, self._settings, folder=self._folder), {}

    def _refuse_regression(self, ends: Mapping[int, int]) -> None:
        for partition, position in self._positions.items():
            if position > ends.get(partition, 0):
                self._distrust_snapshots = True
                raise _LogRestarted(
                    f"partition {partition} ends at {ends.get(partition, 0)}, before {position}, which was read already"
                )

    def _apply_all(self, records: list[StoredRecord]) -> None:
        for record in records:
            if record.offset < self._positions.get(record.partition, 0):
                self._distrust_snapshots = True
                raise _LogRestarted(f"offset {record.offset} of partition {record.partition} came again")
            self._tick = self._clock.monotonic()  # the index holds writers up while it is busy: that is no standstill
            self._apply(record)
            self._positions[record.partition] = record.offset + 1

    def _apply_quietly(self, index: LiveIndex, record: StoredRecord) -> None:
        """Apply a record that was counted, and complained about, when it was first read."""
        with suppress(InvalidEvent, InvalidVector):
            self._applied(index, record)

    def _apply(self, record: StoredRecord) -> None:
        assert self._index is not None
        try:
            outcome, effect, version = self._applied(self._index, record)
        except (InvalidEvent, InvalidVector) as error:
            # Ours is not the only program that may write to a topic. Nothing can be done about such a record here,
            # and stopping at it would stop all that follow.
            _log.warning(
                "index_entry_invalid",
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                error=str(error),
            )
            self._count("invalid")
            return
        self._count(outcome)
        lived = record.timestamp_ms >= self._started_ms  # older ones tell how long we were down, not how fast we are
        if lived and self._tracer.enabled and (parent := parent_in(record.headers)) is not None:
            with self._tracer.span("index apply", parent=parent, kind="consumer") as span:
                span.set({"riverlight.index": self._name, "riverlight.outcome": outcome, "riverlight.effect": effect})
        if outcome == "applied":
            self._changes += 1
            if lived:
                age_s = self._clock.now().timestamp() - version.time_us / 1e6
                self._recorder.observe(FRESHNESS, max(0.0, age_s), system="visual_search", effect=effect)

    def _applied(self, index: LiveIndex, record: StoredRecord) -> tuple[str, str, Version]:
        """Apply one record; return what became of it, the effect it has for users, and its version."""
        if record.value is None:
            version = Version.from_header(record.headers.get(VERSION_HEADER, b""))
            return ("applied" if index.remove(record.key, version) else "stale"), "gone", version
        entry = decode_entry(record.value)
        if entry.item_id != record.key:
            raise InvalidEvent(f"the entry of item {entry.item_id!r} has the key {record.key!r}")
        if entry.model_version != self._model_version:
            if entry.state == "hidden" or entry.unsafe or entry.visibility == "private":
                index.remove(entry.item_id, entry.version)  # whoever embedded it: it is not to be shown any more
            return "other_model", "", entry.version
        effect = "searchable" if entry.state == "active" and not entry.unsafe else "gone"
        return ("applied" if index.apply(entry) else "stale"), effect, entry.version

    def _count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        self._recorder.count(ENTRIES_READ, index=self._name, outcome=outcome)

    def _serve(self) -> None:
        self._serve_index()
        self._caught_up = True
        _log.info("index_caught_up", items=len(self._served.current))

    def _serve_index(self) -> None:
        assert self._index is not None
        before, self._served.current = self._served.current, self._index
        self._served.epoch = self._epoch
        self._served.positions = dict(self._positions)
        if before is not self._index:
            before.close()

    def _pause(self) -> None:
        self._tick = self._clock.monotonic()
        self._stop.wait(_BACKOFF_S)

    # The keeper -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        last_snapshot = self._clock.monotonic()
        while not self._stop.wait(_KEEP_EVERY_S if self._caught_up else 0.5):
            try:
                self._measure()
                if not self._caught_up:
                    continue
                self._compare_with_log()
                if self._clock.monotonic() - last_snapshot >= self._settings.snapshot_interval_s:
                    last_snapshot = self._clock.monotonic()
                    self._snapshot()
            except Unavailable as error:
                _log.warning("index_log_unavailable", error=str(error))
            except Exception:  # the keeper's failure must show, and must not end it
                _log.exception("index_keeper_failed")

    def _measure(self) -> None:
        stats = self._served.current.stats()
        self._recorder.set(INDEX_ITEMS, stats.items - stats.hidden, index=self._name, state="active")
        self._recorder.set(INDEX_ITEMS, stats.hidden, index=self._name, state="hidden")
        self._recorder.set(INDEX_BYTES, stats.bytes_per_vector * stats.rows, index=self._name)

    def _compare_with_log(self) -> None:
        positions, epoch = dict(self._positions), self._epoch
        if self._log.epoch() != epoch:
            self._restarted.set()
            return
        reader = self._log.open(positions)
        try:
            ends = reader.end_offsets()
        finally:
            reader.close()
        self._recorder.set(
            INDEX_LAG,
            sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items()),
            index=self._name,
        )

    def _snapshot(self, *, force: bool = False) -> Path | None:
        """Save the index. The positions are read first: entries applied meanwhile are saved and, later, read again,
        which changes nothing, because the newest version of an item wins."""
        with self._saving:
            index, positions, epoch, changes = self._index, dict(self._positions), self._epoch, self._changes
            if index is None or (changes == self._saved_changes and not force):
                return None
            path = index.save_snapshot(self._folder, positions=positions, epoch=epoch)
            self._saved_changes = changes
            self._recorder.set(INDEX_SNAPSHOT_AGE, self._clock.now().timestamp(), index=self._name)
            return path


def _compare(live: Capture, rebuilt: Capture, records: int) -> Verification:
    ours, theirs = fingerprint(live), fingerprint(rebuilt)
    found = ours.differences(theirs)
    return Verification(
        equal=not found and ours.state_hash == theirs.state_hash,
        items=ours.items.size,
        records=records,
        live_hash=ours.state_hash,
        rebuilt_hash=theirs.state_hash,
        missing=found.missing,
        extra=found.extra,
        different=found.different,
    )

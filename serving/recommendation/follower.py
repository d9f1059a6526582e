"""Keeps the live state equal to the log: a snapshot, then uploads, users and interactions from its offsets, for ever.

Two threads, as `serving/follower.py` has for the vector index: the follower polls and applies, and does nothing else;
the keeper writes snapshots and watches the distance to the end. To catch up, the follower reads uploads to their end,
then users, then interactions, so that an interaction finds its video; from then on it reads all three in turn.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from core.clock import Clock
from core.errors import InvalidInput, Unavailable
from core.events import (
    AnyEvent,
    UploadChanged,
    UploadCreated,
    UploadDeleted,
    UploadHidden,
    decode,
    decode_all,
    split_record,
)
from core.ports import StoredRecord
from monitoring.catalogue import FRESHNESS, INDEX_ENTRIES, INDEX_ITEMS, INDEX_LAG, INDEX_SNAPSHOT_AGE
from monitoring.recorder import Recorder
from serving.entry_log import EntryLog, EntryReader
from serving.recommendation.live_state import LiveState
from serving.recommendation.snapshots import capture, load_snapshot, write_snapshot
from serving.recommendation.topic_log import STREAMS

_log = structlog.get_logger(__name__)

_POLL_RECORDS = 500
_POLL_S = 0.05  # waited for interactions: how long a new upload may lie unread beside a silent topic
_KEEP_EVERY_S = 5.0
_BACKOFF_S = 1.0
_NAME = "recommendation"
_UPLOADS = (UploadCreated, UploadChanged, UploadHidden, UploadDeleted)


class ServedState:
    """The live state that answers now. The follower replaces it when it had to build another from the beginning.

    A request takes `current` once and keeps to it: rows of one state mean nothing in another.
    """

    def __init__(self, state: LiveState) -> None:
        self.current = state


class _LogRestarted(Exception):
    """What was applied so far may not be in the log, or is to be read again: begin from the log's beginning."""


class LiveFollower:
    """Follows the log in background threads between `start()` and `close()`."""

    def __init__(
        self,
        *,
        served: ServedState,
        logs: Mapping[str, EntryLog],
        make_state: Callable[[], LiveState],
        folder: Path,
        recorder: Recorder,
        clock: Clock,
        snapshot_interval_s: float = 300.0,
        snapshots_kept: int = 2,
        max_future_s: float = 300.0,
    ) -> None:
        """`folder` holds the snapshots; `logs` has one log for each of `STREAMS`.

        Args:
            make_state: makes an empty state.
            max_future_s: an event further ahead of the clock is counted as invalid and not applied.
        """
        self._served = served
        self._logs = {stream: logs[stream] for stream in STREAMS}
        self._make_state = make_state
        self._folder = folder
        self._recorder = recorder
        self._clock = clock
        self._snapshot_interval_s = snapshot_interval_s
        self._snapshots_kept = snapshots_kept
        self._max_future = timedelta(seconds=max_future_s)
        self._state: LiveState | None = None  # the one being fed; served once it has caught up
        self._positions: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        self._epochs: dict[str, str] = {}
        self._distrust_snapshots = False
        self._restarted = threading.Event()  # set by the keeper, acted on by the follower
        self._applying = threading.Lock()  # held while records are applied: state and positions agree outside it
        self._saving = threading.Lock()
        self._stop = threading.Event()
        self._started_ms = int(clock.now().timestamp() * 1000)
        self._tick = clock.monotonic()
        self._problem = "the recommender has not read the log to its end yet"
        self._caught_up = False
        self._saved_events = 0
        self._threads: list[threading.Thread] = []
        self.counts: dict[str, int] = {}  # by what became of events: see `LiveState.apply`; and `invalid`, `failed`
        self.lag = 0  # records in the log that are not applied yet, when last looked at
        self.rebuilds = 0

    def start(self) -> None:
        """Load the newest valid snapshot and begin to follow."""
        for name, run in (("recommendation-follower", self._run), ("recommendation-keeper", self._keep)):
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

    def ready(self) -> tuple[bool, str]:
        """Tell whether the state has once held everything that the log held; if not, why."""
        return self._caught_up, "" if self._caught_up else self._problem

    def alive(self, within_s: float = 15.0) -> bool:
        """Tell whether the follower's loop has turned in the last `within_s` seconds."""
        return self._clock.monotonic() - self._tick < within_s

    def snapshot(self) -> Path:
        """Write a snapshot now, whether or not anything changed. Raises Unavailable before it has caught up."""
        path = self._snapshot(force=True) if self._caught_up else None
        if path is None:
            raise Unavailable(f"there is nothing to save yet: {self._problem}")
        return path

    def describe(self) -> dict[str, Any]:
        """Return where the follower is and what it has met."""
        state = self._served.current
        return {
            "videos": state.videos.rows,
            "users": len(state.audience),
            "users_forgotten": state.audience.forgotten,
            "clock_s": state.clock_s,
            "caught_up": self._caught_up,
            "positions": {stream: dict(offsets) for stream, offsets in self._positions.items()},
            "epochs": dict(self._epochs),
            "events": dict(self.counts),
            "lag_records": self.lag,
            "rebuilds": self.rebuilds,
            "problem": "" if self._caught_up else self._problem,
        }

    # The follower ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except _LogRestarted as restart:
                _log.warning("recommendation_log_restarted", reason=str(restart))
                self._state = None
                self.rebuilds += 1
            except Unavailable as error:
                self._problem = str(error)
                _log.warning("recommendation_log_unavailable", error=str(error))
                self._pause()
            except Exception as error:  # dying here would freeze answers at an old state while all looks well
                self._problem = f"the follower failed: {error}"
                _log.exception("recommendation_follower_failed")
                self._pause()

    def _follow(self) -> None:
        self._begin({stream: log.epoch() for stream, log in self._logs.items()})
        readers: dict[str, EntryReader] = {}
        try:
            for stream, log in self._logs.items():
                readers[stream] = log.open(self._positions[stream])
                self._refuse_regression(stream, readers[stream].end_offsets())
            for stream, reader in readers.items():
                while not reader.caught_up() and not self._stop.is_set():
                    self._poll(stream, reader, _POLL_S)
            if not self._stop.is_set():
                self._serve()
            while not self._stop.is_set():
                for stream, reader in readers.items():
                    self._poll(stream, reader, _POLL_S if stream == STREAMS[-1] else 0.0)
        finally:
            for reader in readers.values():
                reader.close()

    def _poll(self, stream: str, reader: EntryReader, timeout_s: float) -> None:
        self._tick = self._clock.monotonic()
        if self._restarted.is_set():
            self._restarted.clear()
            raise _LogRestarted("the incarnation of a topic changed")
        records = reader.poll(_POLL_RECORDS, timeout_s)
        if not records:
            return
        positions = self._positions[stream]
        with self._applying:
            for record in records:
                if record.offset < positions.get(record.partition, 0):
                    self._distrust_snapshots = True
                    raise _LogRestarted(f"offset {record.offset} of {stream} partition {record.partition} came again")
                self._apply(stream, record)
                positions[record.partition] = record.offset + 1

    def _begin(self, epochs: dict[str, str]) -> None:
        """Have a state and the positions to go on from: the ones at hand, a snapshot, or nothing from the start."""
        if self._state is not None and self._epochs == epochs:
            return
        self._restarted.clear()
        self._epochs = epochs
        with self._applying:
            self._state, self._positions = self._from_snapshot(epochs)
        self._saved_events = self._state.events
        self._distrust_snapshots = False
        if not self._caught_up:  # nothing better is being served, so what the snapshot holds is a start
            self._served.current = self._state

    def _from_snapshot(self, epochs: dict[str, str]) -> tuple[LiveState, dict[str, dict[int, int]]]:
        if not self._distrust_snapshots:
            snapshot = load_snapshot(
                self._folder,
                self._make_state,
                on_skipped=lambda reason: _log.warning("recommendation_snapshot_skipped", reason=reason),
            )
            if snapshot is not None and snapshot.epochs == epochs:
                _log.info("recommendation_snapshot_loaded", videos=snapshot.state.videos.rows)
                return snapshot.state, {stream: snapshot.positions.get(stream, {}) for stream in STREAMS}
        return self._make_state(), {stream: {} for stream in STREAMS}

    def _refuse_regression(self, stream: str, ends: Mapping[int, int]) -> None:
        for partition, position in self._positions[stream].items():
            if position > ends.get(partition, 0):
                self._distrust_snapshots = True
                raise _LogRestarted(
                    f"{stream} partition {partition} ends at {ends.get(partition, 0)}, before {position}, which was "
                    "read already"
                )

    def _serve(self) -> None:
        assert self._state is not None
        self._served.current = self._state
        self._caught_up = True
        _log.info("recommendation_caught_up", videos=self._state.videos.rows, users=len(self._state.audience))

    def _apply(self, stream: str, record: StoredRecord) -> None:
        assert self._state is not None
        lived = record.timestamp_ms >= self._started_ms  # older ones tell how long we were down, not how fast we are
        now = self._clock.now()
        for event in self._events(stream, record):
            if event.time > now + self._max_future:
                self._invalid(record, f"event {event.id!r} is of {event.time.isoformat()}, in the future")
                continue
            outcome = self._applied(self._state, event)
            self._count(outcome)
            if lived and outcome == "applied":
                gone = isinstance(event, UploadDeleted) or (isinstance(event, UploadHidden) and event.data.hidden)
                effect = "gone" if gone else "searchable" if isinstance(event, _UPLOADS) else "feature"
                age_s = max(0.0, (now - event.time).total_seconds())
                self._recorder.observe(FRESHNESS, age_s, system=_NAME, effect=effect)

    def _applied(self, state: LiveState, event: AnyEvent) -> str:
        try:
            return state.apply(event)
        except Exception:  # a defect of ours: stopping at this event for ever would hold up all that follow
            _log.exception("recommendation_event_failed", event_id=event.id)
            return "failed"

    def _events(self, stream: str, record: StoredRecord) -> Iterator[AnyEvent]:
        """Return the events of a record; what is none is counted, and does not stop what follows."""
        value = record.value if record.value is not None else b""
        events = decode_all(value, stream)
        if events is not None:
            yield from events
            return
        try:
            parts = split_record(value)
        except InvalidInput as error:
            self._invalid(record, str(error))
            return
        for part in parts:
            try:
                yield decode(part, stream)
            except InvalidInput as error:
                self._invalid(record, str(error))

    def _invalid(self, record: StoredRecord, problem: str) -> None:
        _log.warning(
            "recommendation_event_invalid",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=problem,
        )
        self._count("invalid")

    def _count(self, outcome: str) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        self._recorder.count(INDEX_ENTRIES, index=_NAME, outcome=outcome)

    def _pause(self) -> None:
        self._tick = self._clock.monotonic()
        self._stop.wait(_BACKOFF_S)

    # The keeper -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        last_snapshot = self._clock.monotonic()
        while not self._stop.wait(_KEEP_EVERY_S):
            try:
                if not self._caught_up:
                    continue
                self._look_at_log()
                if self._clock.monotonic() - last_snapshot >= self._snapshot_interval_s:
                    last_snapshot = self._clock.monotonic()
                    self._snapshot()
            except Unavailable as error:
                _log.warning("recommendation_log_unavailable", error=str(error))
            except Exception:  # the keeper's failure must show, and must not end it
                _log.exception("recommendation_keeper_failed")

    def _look_at_log(self) -> None:
        lag = 0
        for stream, log in self._logs.items():
            positions, epoch = dict(self._positions[stream]), self._epochs.get(stream)
            if log.epoch() != epoch:
                self._restarted.set()
                return
            reader = log.open(positions)
            try:
                ends = reader.end_offsets()
            finally:
                reader.close()
            lag += sum(max(0, end - positions.get(partition, 0)) for partition, end in ends.items())
        self.lag = lag
        self._recorder.set(INDEX_LAG, lag, index=_NAME)
        videos = self._served.current.videos
        shown = int((videos.flags == 0).sum())
        self._recorder.set(INDEX_ITEMS, shown, index=_NAME, state="active")
        self._recorder.set(INDEX_ITEMS, videos.rows - shown, index=_NAME, state="hidden")

    def _snapshot(self, *, force: bool = False) -> Path | None:
        with self._saving:
            with self._applying:
                state = self._state
                if state is None or (state.events == self._saved_events and not force):
                    return None
                captured = capture(state, self._positions, self._epochs)
                events = state.events
            path = write_snapshot(state, captured, self._folder, keep=self._snapshots_kept)
            self._saved_events = events
            self._recorder.set(INDEX_SNAPSHOT_AGE, self._clock.now().timestamp(), index=_NAME)
            return path

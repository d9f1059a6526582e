"""The live state as a view of uploads, users and interactions: how events are applied, saved and shown."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from core.clock import Clock
from core.errors import InvalidInput
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
from monitoring.catalogue import FRESHNESS, INDEX_ENTRIES, INDEX_ITEMS
from monitoring.recorder import Recorder
from serving.following.place import Place
from serving.recommendation.live_state import LiveState
from serving.recommendation.seeding import seed
from serving.recommendation.served_state import ServedState
from serving.recommendation.snapshots import capture, load_snapshot, write_snapshot
from storage.catalogue import Catalogue

_log = structlog.get_logger(__name__)

_UPLOADS = (UploadCreated, UploadChanged, UploadHidden, UploadDeleted)


class LiveView:
    """Implements `serving.following.view.View`. Its topics are named by their streams."""

    name = metric = "recommendation"
    noun = "recommender"

    def __init__(
        self,
        served: ServedState,
        folder: Path,
        make_state: Callable[[], LiveState],
        *,
        snapshots_kept: int,
        max_future_s: float,
        catalogue: Catalogue | None,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self.counts: dict[str, int] = {}  # by what became of events: see `LiveState.apply`; and `invalid`, `failed`
        self._served = served
        self._folder = folder
        self._make_state = make_state
        self._snapshots_kept = snapshots_kept
        self._max_future = timedelta(seconds=max_future_s)
        self._catalogue = catalogue
        self._recorder = recorder
        self._clock = clock
        self._started_ms = int(clock.now().timestamp() * 1000)

    def empty(self) -> LiveState:
        state = self._make_state()
        if self._catalogue is not None:
            _log.info("recommendation_seeded", videos=seed(state, self._catalogue))
        return state

    def load(self) -> tuple[LiveState, Place] | None:
        snapshot = load_snapshot(
            self._folder,
            self._make_state,
            on_skipped=lambda reason: _log.warning("recommendation_snapshot_skipped", reason=reason),
        )
        return None if snapshot is None else (snapshot.state, Place(snapshot.epochs, snapshot.positions))

    def discard(self, state: LiveState) -> None:
        """It is memory alone."""

    def apply(self, state: LiveState, topic: str, record: StoredRecord) -> bool:
        lived = record.timestamp_ms >= self._started_ms  # older ones tell how long we were down, not how fast we are
        now = self._clock.now()
        before = state.events
        for event in self._events(topic, record):
            if event.time > now + self._max_future:
                self._invalid(record, f"event {event.id!r} is of {event.time.isoformat()}, in the future")
                continue
            outcome = self._applied(state, event)
            self._count(outcome)
            if lived and outcome == "applied":
                age_s = max(0.0, (now - event.time).total_seconds())
                self._recorder.observe(FRESHNESS, age_s, system=self.metric, effect=_effect(event))
        return state.events != before

    def serve(self, state: LiveState, place: Place) -> None:
        self._served.serve(state)

    def size(self, state: LiveState) -> dict[str, int]:
        return {"videos": state.videos.rows, "users": len(state.audience)}

    def measure(self) -> None:
        videos = self._served.current.videos
        shown = int((videos.flags == 0).sum())
        self._recorder.set(INDEX_ITEMS, shown, index=self.metric, state="active")
        self._recorder.set(INDEX_ITEMS, videos.rows - shown, index=self.metric, state="hidden")

    def capture(self, state: LiveState, place: Place) -> Callable[[], Path]:
        captured = capture(state, place.positions, place.epochs)
        return partial(write_snapshot, state, captured, self._folder, keep=self._snapshots_kept)

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
        self._recorder.count(INDEX_ENTRIES, index=self.metric, outcome=outcome)


def _effect(event: AnyEvent) -> str:
    """Return what users notice of an event."""
    if isinstance(event, UploadDeleted) or (isinstance(event, UploadHidden) and event.data.hidden):
        return "gone"
    return "searchable" if isinstance(event, _UPLOADS) else "feature"

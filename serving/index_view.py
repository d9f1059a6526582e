"""The vector index as a view of `index.entries.v1`: how an entry is applied, saved and shown."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from core.clock import Clock
from core.entries import VERSION_HEADER, Version, decode_entry
from core.errors import InvalidEvent, InvalidVector
from core.ports import StoredRecord
from core.settings import IndexSettings
from core.topics import INDEX_ENTRIES as TOPIC
from models.index import LiveIndex, load_snapshot
from monitoring.catalogue import FRESHNESS, INDEX_BYTES, INDEX_ENTRIES, INDEX_ITEMS
from monitoring.recorder import Recorder
from monitoring.tracing import Tracer, parent_in
from serving.following.place import Place
from serving.served_index import ServedIndex

_log = structlog.get_logger(__name__)


class IndexView:
    """Implements `serving.following.view.View`. Entries of another model than the served index's are not applied."""

    name = noun = "index"

    def __init__(
        self,
        served: ServedIndex,
        folder: Path,
        settings: IndexSettings,
        *,
        metric: str,
        recorder: Recorder,
        clock: Clock,
        tracer: Tracer,
    ) -> None:
        self.metric = metric
        self.counts = {"applied": 0, "stale": 0, "other_model": 0, "invalid": 0}
        self._served = served
        self._folder = folder
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._tracer = tracer
        self._dim = served.current.dim
        self._model_version = served.current.model_version
        self._started_ms = int(clock.now().timestamp() * 1000)

    def empty(self) -> LiveIndex:
        return LiveIndex(self._dim, self._model_version, self._settings, folder=self._folder)

    def to_compare(self) -> LiveIndex:
        """Return an empty index that is to be compared with another, not searched."""
        flat = self._settings.model_copy(update={"kind": "flat"})
        return LiveIndex(self._dim, self._model_version, flat, folder=self._folder, in_memory=False)

    def load(self) -> tuple[LiveIndex, Place] | None:
        snapshot = load_snapshot(
            self._folder,
            self._settings,
            model_version=self._model_version,
            on_skipped=lambda reason: _log.warning("index_snapshot_skipped", reason=reason),
        )
        if snapshot is None:
            return None
        if snapshot.index.dim != self._dim:
            snapshot.index.close()
            return None
        return snapshot.index, Place({TOPIC.name: snapshot.epoch}, {TOPIC.name: dict(snapshot.positions)})

    def discard(self, state: LiveIndex) -> None:
        state.close()

    def apply(self, state: LiveIndex, topic: str, record: StoredRecord) -> bool:
        try:
            outcome, effect, version = self._applied(state, record)
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
            return False
        self._count(outcome)
        if record.timestamp_ms >= self._started_ms:  # older ones tell how long we were down, not how fast we are
            self._observe(record, outcome, effect, version)
        return outcome == "applied"

    def apply_quietly(self, state: LiveIndex, record: StoredRecord) -> None:
        """Apply a record that was counted, and complained about, when it was first read."""
        with suppress(InvalidEvent, InvalidVector):
            self._applied(state, record)

    def serve(self, state: LiveIndex, place: Place) -> None:
        before, self._served.current = self._served.current, state
        self._served.epoch = place.epochs[TOPIC.name]
        self._served.positions = place.of(TOPIC.name)
        if before is not state:
            before.close()

    def size(self, state: LiveIndex) -> dict[str, int]:
        return {"items": len(state)}

    def measure(self) -> None:
        stats = self._served.current.stats()
        self._recorder.set(INDEX_ITEMS, stats.items - stats.hidden, index=self.metric, state="active")
        self._recorder.set(INDEX_ITEMS, stats.hidden, index=self.metric, state="hidden")
        self._recorder.set(INDEX_BYTES, stats.bytes_per_vector * stats.rows, index=self.metric)

    def capture(self, state: LiveIndex, place: Place) -> Callable[[], Path]:
        """Take the place alone. Entries applied while the index is written are saved and, later, read again, which
        changes nothing, because the newest version of an item wins."""
        positions, epoch = place.of(TOPIC.name), place.epochs[TOPIC.name]
        return partial(state.save_snapshot, self._folder, positions=positions, epoch=epoch)

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

    def _observe(self, record: StoredRecord, outcome: str, effect: str, version: Version) -> None:
        if self._tracer.enabled and (parent := parent_in(record.headers)) is not None:
            with self._tracer.span("index apply", parent=parent, kind="consumer") as span:
                span.set({"riverlight.index": self.metric, "riverlight.outcome": outcome, "riverlight.effect": effect})
        if outcome == "applied":
            age_s = self._clock.now().timestamp() - version.time_us / 1e6
            self._recorder.observe(FRESHNESS, max(0.0, age_s), system="visual_search", effect=effect)

    def _count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        self._recorder.count(INDEX_ENTRIES, index=self.metric, outcome=outcome)

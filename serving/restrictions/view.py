"""Restrictions as a view of `moderation.verdicts.v1`: how a verdict is applied and shown."""

from datetime import datetime

import structlog

from core.clock import Clock
from core.entries import AGAIN_HEADER, VERSION_HEADER, Version
from core.errors import InvalidEvent
from core.moderation import Verdict, decode_verdict
from core.ports import StoredRecord
from monitoring.catalogue import FRESHNESS, INDEX_ENTRIES, INDEX_ITEMS, VERDICT_SECONDS
from monitoring.recorder import Recorder
from serving.following.place import Place
from serving.restrictions.served import Restrictions
from serving.restrictions.state import RestrictionState

_log = structlog.get_logger(__name__)

_SYSTEM = "moderation"
_EFFECTS = {"enforced": "gone", "demoted": "demoted", "clear": "searchable"}


class RestrictionsView:
    """Implements `serving.following.view.View`. It keeps no snapshots: the compacted topic is read whole at start."""

    name = metric = "restrictions"
    noun = "list of restrictions"

    def __init__(self, served: Restrictions, *, recorder: Recorder, clock: Clock) -> None:
        self.counts = {"applied": 0, "stale": 0, "invalid": 0}
        self._served = served
        self._recorder = recorder
        self._clock = clock
        self._started_ms = int(clock.now().timestamp() * 1000)

    def empty(self) -> RestrictionState:
        return RestrictionState()

    def load(self) -> None:
        """There is no snapshot."""

    def discard(self, state: RestrictionState) -> None:
        """It is memory alone."""

    def apply(self, state: RestrictionState, topic: str, record: StoredRecord) -> bool:
        try:
            applied, effect, verdict = self._applied(state, record)
        except InvalidEvent as error:
            # What is in force stays so: who writes what cannot be read does not lift a restriction.
            _log.warning(
                "verdict_invalid", partition=record.partition, offset=record.offset, key=record.key, error=str(error)
            )
            self._count("invalid")
            return False
        self._count("applied" if applied else "stale")
        # Older ones tell how long we were down, not how fast we are; those told again, nothing.
        lived = record.timestamp_ms >= self._started_ms and AGAIN_HEADER not in record.headers
        if applied and lived and verdict is not None:
            now, since = self._clock.now(), verdict.event_time or verdict.decided_at
            self._recorder.observe(FRESHNESS, _age_s(since, now), system=_SYSTEM, effect=effect)
            self._recorder.observe(VERDICT_SECONDS, _age_s(verdict.decided_at, now), effect=effect)
        return applied

    def serve(self, state: RestrictionState, place: Place) -> None:
        self._served.current = state

    def size(self, state: RestrictionState) -> dict[str, int]:
        return {"posts": len(state)}

    def measure(self) -> None:
        _, items = self._served.current.counts()
        for state in ("enforced", "demoted"):
            self._recorder.set(INDEX_ITEMS, items.get(state, 0), index=self.metric, state=state)

    def capture(self, state: RestrictionState, place: Place) -> None:
        """Nothing is saved."""

    def _applied(self, state: RestrictionState, record: StoredRecord) -> tuple[bool, str, Verdict | None]:
        """Apply one record; tell whether it counted, the effect it has for users, and what it was."""
        if record.value is None:
            version = Version.from_header(record.headers.get(VERSION_HEADER, b""))
            return state.remove(record.key, version), _EFFECTS["clear"], None
        verdict = decode_verdict(record.value)
        if verdict.post_id != record.key:
            raise InvalidEvent(f"the verdict about post {verdict.post_id!r} has the key {record.key!r}")
        return state.apply(verdict), _EFFECTS[verdict.state], verdict

    def _count(self, outcome: str) -> None:
        self.counts[outcome] += 1
        self._recorder.count(INDEX_ENTRIES, index=self.metric, outcome=outcome)


def _age_s(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())

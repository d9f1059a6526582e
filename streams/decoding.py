"""From records to events: frames are split, events decoded and checked, and what is wrong is set apart.

A record in which nothing is wrong is decoded in one go. Any other is taken apart event by event, so that one bad event
is one dead letter and its neighbours are handled.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from core.errors import FutureEvent, InvalidInput
from core.events import AnyEvent, decode, decode_all, split_record
from core.ports import StoredRecord

_ANY_TIME = datetime.max.replace(tzinfo=UTC)


class Delivered(msgspec.Struct, eq=False, gc=False):
    """One event and where it came from: what handlers get.

    `raw` is None for an event of a frame that was decoded in one go; `original` finds its bytes when they are needed.
    """

    event: AnyEvent
    raw: bytes | None
    record: StoredRecord
    attempts: int = 0
    position: int = 0  # which event of its record

    def original(self) -> bytes:
        """Return the event's bytes as they came."""
        return self.raw if self.raw is not None else bytes(split_record(self.record.value or b"")[self.position])


class Refused(msgspec.Struct, eq=False, frozen=True):
    """An event (or a whole record) that will not be applied: the raw material of a dead letter."""

    record: StoredRecord
    raw: bytes
    error: Exception
    attempts: int = 1


def decode_records(
    records: Sequence[StoredRecord], stream: str, latest: datetime
) -> tuple[list[Delivered], list[Refused]]:
    """Return the events of `stream` in the records, in order, and what cannot be handled.

    Args:
        latest: an event after this is from the future, hence refused.
    """
    items: list[Delivered] = []
    refused: list[Refused] = []
    for record in records:
        value = record.value if record.value is not None else b""
        events = decode_all(value, stream)
        if events is None or [event for event in events if event.time > latest]:
            _one_by_one(record, value, stream, latest, items, refused)
        elif len(events) == 1 and value[:1] != b"[":
            items.append(Delivered(events[0], value, record))
        else:
            items += [Delivered(event, None, record, 0, at) for at, event in enumerate(events)]
    return items, refused


def valid_events(record: StoredRecord, stream: str) -> list[AnyEvent]:
    """Return the events of a record that are valid, in order, for those who leave the others to another agent."""
    items, _ = decode_records([record], stream, _ANY_TIME)
    return [item.event for item in items]


def _one_by_one(
    record: StoredRecord,
    value: bytes,
    stream: str,
    latest: datetime,
    items: list[Delivered],
    refused: list[Refused],
) -> None:
    try:
        parts = split_record(value)
    except InvalidInput as error:
        refused.append(Refused(record, value, error))
        return
    for part in parts:
        raw = part if isinstance(part, bytes) else bytes(part)
        try:
            event = decode(raw, stream)
            if event.time > latest:
                ahead_s = (event.time - latest).total_seconds()
                raise FutureEvent(
                    f"event time {event.time.isoformat()} is {ahead_s:g} s further ahead of the clock than is allowed; "
                    "check the producer's clock"
                )
        except InvalidInput as error:
            refused.append(Refused(record, raw, error))
        else:
            items.append(Delivered(event, raw, record))

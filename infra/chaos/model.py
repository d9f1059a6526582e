"""What the stores must hold in the end, in plain Python: no database, no broker, no code of the agents.

The rules are those the documentation promises (docs/adr/0001, docs/adr/0003, `features.schema`), written down a second
time on purpose: a model that called the handlers would agree with their mistakes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from core.events import (
    AnyEvent,
    Click,
    Impression,
    Interaction,
    UploadChanged,
    UploadCreated,
    UploadDeleted,
    UploadHidden,
    Watch,
    Watched,
)

Entity = tuple[Literal["item", "user"], str]
Totals = tuple[int, int, int]  # impressions, clicks, milliseconds watched

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600_000_000
#: Window name to (bucket width in microseconds, buckets, the one in progress included), as the documentation says.
_WINDOWS = {"day": (_HOUR_US, 24), "week": (24 * _HOUR_US, 7), "month": (24 * _HOUR_US, 30)}


@dataclass(frozen=True)
class ItemState:
    """What catalogue and index must say about an item. A deleted item keeps only what is not personal."""

    item_id: str
    state: Literal["active", "hidden", "deleted"]
    event_id: str  # of the newest event that changed it
    time_us: int
    owner_id: str = ""
    media_id: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    category: str = ""


@dataclass
class Model:
    """The right final state after a set of events, whatever the order and number of their deliveries."""

    items: dict[str, ItemState] = field(default_factory=dict)
    counted: dict[Entity, list[tuple[int, Totals]]] = field(default_factory=dict)  # (event time in us, what it adds)
    letters: dict[str, str] = field(default_factory=dict)  # letter id -> error code
    uploads: set[str] = field(default_factory=set)  # ids of upload events that must be remembered as applied
    events: set[str] = field(default_factory=set)  # ids of all good events

    @classmethod
    def of(cls, events: Iterable[AnyEvent], letters: Mapping[str, str]) -> "Model":
        """Return the state after the good `events`, each once, and the dead letters that the others must become."""
        model = cls(letters=dict(letters))
        for event in sorted(events, key=lambda event: event.time):
            if event.id not in model.events:
                model.events.add(event.id)
                model._apply(event)
        return model

    def totals(self, entity: Entity, as_of_us: int, window: str) -> Totals:
        """Return what an entity's row, computed as of a time, must say about a trailing window."""
        width_us, buckets = _WINDOWS[window]
        start_us = ((as_of_us - 1) // width_us - (buckets - 1)) * width_us
        return _sum(added for time_us, added in self.counted.get(entity, ()) if start_us <= time_us < as_of_us)

    def everything(self, entity: Entity) -> Totals:
        """Return what was ever counted for an entity."""
        return _sum(added for _, added in self.counted.get(entity, ()))

    def _apply(self, event: AnyEvent) -> None:
        if isinstance(event.data, Interaction):
            self._count(event, event.data)
            return
        self.uploads.add(event.id)
        match event:
            case UploadCreated(data=data):
                self.items[data.item_id] = ItemState(
                    data.item_id, "active", event.id, us(event.time), data.owner_id, data.media_id,
                    data.title, data.description, tuple(data.tags), data.category,
                )  # fmt: skip
            case UploadChanged(data=data):
                changes = {
                    name: tuple(value) if isinstance(value, list) else value
                    for name in ("media_id", "title", "description", "tags", "category")
                    if isinstance(value := getattr(data, name), str | list)
                }
                self._change(data.item_id, event, **changes)
            case UploadHidden(data=data):
                self._change(data.item_id, event, state="hidden" if data.hidden else "active")
            case UploadDeleted(data=data):
                self.items[data.item_id] = ItemState(data.item_id, "deleted", event.id, us(event.time))

    def _change(self, item_id: str, event: AnyEvent, **changes: object) -> None:
        item = self.items[item_id]
        if item.state != "deleted":
            self.items[item_id] = replace(item, event_id=event.id, time_us=us(event.time), **changes)  # type: ignore[arg-type]

    def _count(self, event: AnyEvent, data: Interaction) -> None:
        match event:
            case Impression():
                added = (1, 0, 0)
            case Click():
                added = (0, 1, 0)
            case Watch() if isinstance(data.value, Watched):
                added = (0, 0, round(data.value.seconds * 1000))
            case _:
                return
        self.counted.setdefault(("user", data.user_id), []).append((us(event.time), added))
        if data.item_id is not None:
            self.counted.setdefault(("item", data.item_id), []).append((us(event.time), added))


def _sum(rows: Iterable[Totals]) -> Totals:
    total = [0, 0, 0]
    for row in rows:
        for position, added in enumerate(row):
            total[position] += added
    return total[0], total[1], total[2]


def us(time: datetime) -> int:
    """Return an aware time as whole microseconds since the epoch."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

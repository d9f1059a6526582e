"""What one interaction adds to the features: the single place that says so, for the stream and for history."""

from datetime import UTC, datetime, timedelta

import msgspec

from core.events import Click, Impression, InteractionEvent, Watch, Watched
from features.schema import ITEM_STATS, USER_STATS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: Where items are shown. A closed set, so that what is counted per surface stays small whatever producers write.
SURFACES = ("visual_search", "video_search", "home", "related", "profile", "feed")
OTHER_SURFACE = "other"

#: The number of the per-surface totals in stored state: counted with the views, but not rows of the online store.
SURFACE_ID = 2

#: Views by the number they have in stored state; only ever appended to.
VIEW_IDS = {ITEM_STATS.name: 0, USER_STATS.name: 1}

Counts = tuple[int, int, int]  # in the order of schema.COUNTS
_IMPRESSION: Counts = (1, 0, 0)
_CLICK: Counts = (0, 1, 0)

#: What every event of a type adds, whatever is in it. `counts_of` knows the others, too.
COUNTS_BY_TYPE: dict[type, Counts] = {Impression: _IMPRESSION, Click: _CLICK}


class LocatedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and where in the log it came from.

    `epoch` names the incarnation of the topic: offsets start again when a topic is made anew. `timestamp_ms` is the
    record's own time in the log; lateness is measured against it, so that our own delay makes no event late. Without
    it, lateness is measured against the clock.
    """

    event: InteractionEvent
    topic: str
    partition: int
    offset: int
    epoch: str
    timestamp_ms: int | None = None


def to_us(time: datetime) -> int:
    """Return an aware time as whole microseconds since the epoch, exactly (a float cannot hold every one)."""
    return (time - EPOCH) // _MICROSECOND


def from_us(time_us: int) -> datetime:
    """Return the UTC time of microseconds since the epoch."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)


def counts_of(event: InteractionEvent) -> Counts | None:
    """Return what the event adds to its item's and its user's counts; None when it is not counted."""
    if type(event) is Watch and isinstance(value := event.data.value, Watched):
        return (0, 0, round(value.seconds * 1000))
    return COUNTS_BY_TYPE.get(type(event))


def surface_of(event: InteractionEvent) -> str:
    """Return the surface that an event counts for: its own where that is a known one."""
    return known_surface(event.data.surface)


def known_surface(surface: str) -> str:
    """Return the surface where it is a known one, else the one for all others."""
    return surface if surface in SURFACES else OTHER_SURFACE


def is_late(time_us: int, arrived_us: int, max_lateness_us: int) -> bool:
    """Tell whether an event came too late to be counted."""
    return arrived_us - time_us > max_lateness_us

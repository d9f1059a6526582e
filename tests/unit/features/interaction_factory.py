"""Seeded interactions, an oracle that counts them in the plainest way, and a clock that stands still."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from core.events import Click, Impression, Interaction, InteractionEvent, Like, Search, Watch, Watched, encode
from core.ports import StoredRecord
from core.topics import INTERACTIONS
from features.interactions import LocatedEvent, to_us

TOPIC = INTERACTIONS.name
START = datetime(2026, 3, 10, 9, 20, 0, 120_000, tzinfo=UTC)
KINDS = {"impression": Impression, "click": Click, "watch": Watch, "like": Like, "search": Search}


class ManualClock:
    """A clock that is told what time it is."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **by: float) -> None:
        self.time += timedelta(**by)


def interaction(
    kind: str = "impression",
    *,
    id: str = "evt-1",
    user: str = "user-1",
    item: str | None = "item-1",
    time: datetime = START,
    seconds: float | None = None,
    trace: str | None = None,
    position: int | None = None,
) -> InteractionEvent:
    value = Watched(seconds=seconds) if seconds is not None else None
    data = Interaction(
        user_id=user, item_id=item, surface="visual_search", position=position, trace_id=trace, value=value
    )
    return KINDS[kind](id=id, source="test", time=time, subject=user, data=data)


def located(
    events: Iterable[InteractionEvent], *, first: int = 0, partition: int = 0, epoch: str = "a", arrived: bool = False
) -> list[LocatedEvent]:
    """Put the events in the log, one record each; `arrived` gives each record the time of its event."""
    return [
        LocatedEvent(event, TOPIC, partition, first + n, epoch, to_us(event.time) // 1000 if arrived else None)
        for n, event in enumerate(events)
    ]


def stored(event: InteractionEvent, offset: int, partition: int = 0) -> StoredRecord:
    at = to_us(event.time) // 1000
    return StoredRecord(TOPIC, partition, offset, event.subject, encode(event), {}, at)


def random_events(
    n: int, seed: int, *, start: datetime = START, over: timedelta = timedelta(days=3), users: int = 20, items: int = 15
) -> list[InteractionEvent]:
    """Return `n` interactions in the order of time, some at the very same moment."""
    rng = random.Random(seed)
    times = sorted(rng.randrange(int(over.total_seconds())) for _ in range(n))
    events = []
    for index, second in enumerate(times):
        kind = rng.choices(list(KINDS), weights=[60, 20, 15, 3, 2])[0]
        events.append(
            interaction(
                kind,
                id=f"evt-{seed}-{index}",
                user=f"user-{rng.randrange(users)}",
                item=None if kind == "search" else f"item-{rng.randrange(items)}",
                time=start + timedelta(seconds=second),
                seconds=rng.randrange(100_000) / 1000 if kind == "watch" else None,
                trace=f"trace-{index % 7}",
                position=rng.randrange(20) if kind == "impression" else None,
            )
        )
    return events


def window_start(as_of: datetime, window: str) -> datetime:
    """Say again, without the code under test, where a window begins: whole hours or days, the last one in progress."""
    last = as_of - timedelta(microseconds=1)
    if window == "day":
        return last.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    return last.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days={"week": 6, "month": 29}[window])


def expected_features(
    events: Sequence[InteractionEvent], key: str, as_of: datetime
) -> dict[str, dict[str, int | float]]:
    """Return the features of every entity (`key`: user_id or item_id) by scanning all events before `as_of`."""
    result: dict[str, dict[str, int | float]] = defaultdict(dict)
    entities = {getattr(e.data, key) for e in events if isinstance(e, Impression | Click | Watch) and e.time < as_of}
    for entity in entities - {None}:
        for window in ("day", "week", "month"):
            start = window_start(as_of, window)
            inside = [e for e in events if getattr(e.data, key) == entity and start <= e.time < as_of]
            shown = sum(isinstance(e, Impression) for e in inside)
            clicked = sum(isinstance(e, Click) for e in inside)
            ms = sum(round(e.data.value.seconds * 1000) for e in inside if isinstance(e, Watch))  # type: ignore[union-attr]
            result[entity] |= {
                f"impressions_{window}": shown,
                f"clicks_{window}": clicked,
                f"ctr_{window}": (clicked + 1) / (max(shown, clicked) + 20),
                f"time_spent_s_{window}": ms / 1000,
            }
    return dict(result)

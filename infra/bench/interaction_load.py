"""Seeded interactions for the interactions benchmark, and what they must come to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from core.events import Click, Impression, Interaction, InteractionEvent, Like, Watch, Watched, encode
from core.ports import OutgoingRecord
from core.topics import Topic
from streams.partitioning import partition_of

USERS, ITEMS = 50_000, 5_000
ZIPF = 1.1  # of the popularity of users and items
REPEATED = 0.02  # of the events come a second time, some way behind the first
KINDS = (Impression, Click, Watch, Like)
SHARES = (0.80, 0.12, 0.05, 0.03)

Totals = dict[str, list[int]]  # id -> [impressions, clicks, milliseconds watched]


@dataclass
class Expected:
    """Counts by the plainest loop there is, over everything that was produced so far."""

    items: Totals = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    users: Totals = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))

    def add(self, event: InteractionEvent) -> None:
        for totals, name in ((self.items, event.data.item_id or ""), (self.users, event.data.user_id)):
            if isinstance(event, Impression):
                totals[name][0] += 1
            elif isinstance(event, Click):
                totals[name][1] += 1
            elif isinstance(event, Watch) and isinstance(event.data.value, Watched):
                totals[name][2] += round(event.data.value.seconds * 1000)


def interactions(number: int, seed: int, expected: Expected) -> Iterator[tuple[str, bytes]]:
    """Yield `(user, event as JSON)` of `number` events, repeated ones among them; `expected` counts each once."""
    rng = np.random.default_rng(seed)
    users, items = _popular(rng, USERS, number), _popular(rng, ITEMS, number)
    kinds = rng.choice(len(KINDS), number, p=SHARES).tolist()
    repeated = (rng.random(number) < REPEATED).tolist()
    behind = rng.integers(1, 20_000, number).tolist()
    watched = rng.integers(0, 120_000, number).tolist()
    start = datetime.now(UTC) - timedelta(seconds=60)
    made: list[tuple[str, bytes]] = []
    for n in range(number):
        if repeated[n] and n >= behind[n]:
            made.append(made[n - behind[n]])
            yield made[-1]
            continue
        user, item, kind = f"user-{users[n]}", f"item-{items[n]}", KINDS[kinds[n]]
        data = Interaction(
            user_id=user,
            item_id=item,
            surface="visual_search",
            position=n % 20,
            trace_id=f"{seed:016x}{n:016x}",
            value=Watched(seconds=watched[n] / 1000) if kind is Watch else None,
        )
        at = start + timedelta(microseconds=n)
        event = kind(id=f"evt-{seed:08x}-{n:08x}", source="benchmark", time=at, subject=user, data=data)
        expected.add(event)
        made.append((user, encode(event)))
        yield made[-1]


def records(events: Iterator[tuple[str, bytes]], topic: Topic, frame: int) -> Iterator[OutgoingRecord]:
    """Yield records of `frame` events each; events of a frame belong to one partition, so keys keep their order."""
    if frame == 1:
        yield from (OutgoingRecord(topic.name, user, event) for user, event in events)
        return
    waiting: dict[int, list[bytes]] = defaultdict(list)
    for user, event in events:
        partition = partition_of(user.encode(), topic.partitions)
        waiting[partition].append(event)
        if len(waiting[partition]) == frame:
            yield _framed(topic, partition, waiting.pop(partition))
    for partition, rest in waiting.items():
        yield _framed(topic, partition, rest)


def _framed(topic: Topic, partition: int, events: Sequence[bytes]) -> OutgoingRecord:
    return OutgoingRecord(topic.name, f"frame-{partition}", b"[" + b",".join(events) + b"]", partition=partition)


def _popular(rng: np.random.Generator, size: int, number: int) -> list[int]:
    weights = 1.0 / np.arange(1, size + 1) ** ZIPF
    drawn: list[int] = rng.choice(size, number, p=weights / weights.sum()).tolist()
    return drawn

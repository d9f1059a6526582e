"""Index entries of a run, straight into their topic: an index of any size without an encoder that embeds it."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from core import topics
from core.entries import IndexEntry, Version, encode_entry, pack_vector, tombstone_headers
from core.ids import event_id
from core.ports import OutgoingRecord
from core.settings import ProducerSettings
from storage.log.producer import KafkaPublisher

_BATCH = 1_000


@dataclass(frozen=True)
class EntryPlan:
    """What to write: how many items, and which share of them is changed, hidden or removed later."""

    items: int
    dim: int
    model_version: str
    changed_share: float = 0.05
    hidden_share: float = 0.02
    removed_share: float = 0.03


def write_entries(seed: int, run: str, plan: EntryPlan, *, start: datetime) -> tuple[OutgoingRecord, ...]:
    """Return the records of a run in the order in which they happened.

    The same seed and plan give the same ones, but for `run` and `start`. An index of them all holds `plan.items` items
    without those removed.
    """
    rng = random.Random(seed)
    vectors = _vectors(plan, seed)
    placed = [
        (float(number), _record(run, number, plan, next(vectors), Version.of(start, 0))) for number in range(plan.items)
    ]
    numbers = list(range(plan.items))
    rng.shuffle(numbers)
    cut = 0
    for seq, (share, kind) in enumerate(
        ((plan.changed_share, "changed"), (plan.hidden_share, "hidden"), (plan.removed_share, "removed")), start=1
    ):
        version = Version.of(start, seq)
        some = numbers[cut : cut + round(share * plan.items)]
        cut += len(some)
        for number in some:
            if kind == "removed":
                name = _item(run, number)
                later = OutgoingRecord(topics.INDEX_ENTRIES.name, name, None, tombstone_headers(version))
            else:
                later = _record(run, number, plan, next(vectors), version, hidden=kind == "hidden")
            placed.append((number + 0.5 + rng.random() * (plan.items - number), later))  # somewhere behind its first
    return tuple(record for _, record in sorted(placed, key=lambda one: one[0]))


def publish(bootstrap: str, records: Sequence[OutgoingRecord]) -> None:
    """Write records and wait until the broker has them all. Raises Unavailable."""
    publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="chaos-entries")

    async def send() -> None:
        for first in range(0, len(records), _BATCH):
            await publisher.publish(records[first : first + _BATCH])

    try:
        asyncio.run(send())
    finally:
        publisher.close()


def _record(
    run: str, number: int, plan: EntryPlan, vector: np.ndarray, version: Version, *, hidden: bool = False
) -> OutgoingRecord:
    name = _item(run, number)
    entry = IndexEntry(
        item_id=name,
        version=version,
        state="hidden" if hidden else "active",
        media_id=f"{number:064x}",
        owner_id=f"{run}-owner-{number % 50}",
        vector=pack_vector(vector),
        model_version=plan.model_version,
        title=f"picture {number}, version {version.seq}",
        event_id=event_id(run, f"{name}-{version.seq}"),
    )
    return OutgoingRecord(topics.INDEX_ENTRIES.name, name, encode_entry(entry))


def _vectors(plan: EntryPlan, seed: int) -> Iterator[np.ndarray]:
    """Return unit vectors in overlapping clusters, without end."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((100, plan.dim), np.float32)
    while True:
        rows = centres[rng.integers(0, len(centres), _BATCH)] + 0.8 * rng.standard_normal(
            (_BATCH, plan.dim), np.float32
        )
        yield from (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _item(run: str, number: int) -> str:
    return f"{run}-item-{number:06d}"

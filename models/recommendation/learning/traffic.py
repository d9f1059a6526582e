"""Interactions with their places in the log: which a model has learned, which are fresh, which are held out.

A position says what a model has learned: by incarnation of the topic and partition, the next offset. It is kept with
the model's weights, so neither can be ahead of the other: whoever goes on from a version goes on from its position.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.recommendation.interactions import EventRow, InteractionLog, log_of_events

Mask = NDArray[np.bool_]
#: incarnation of the topic -> partition (as text, as JSON has it) -> next offset to learn
Positions = Mapping[str, Mapping[str, int]]

_BASE = -1  # what a model was first trained on is in no log of ours


class Happened(NamedTuple):
    """One interaction and its place."""

    row: EventRow
    epoch: str
    partition: int
    offset: int
    arrived_s: float  # when the log took it, seconds since 1970


@dataclass(frozen=True, eq=False)
class Traffic:
    """All interactions in the order of time, and for each `(n,)` its place and when it arrived."""

    log: InteractionLog
    epochs: tuple[str, ...]
    epoch: NDArray[np.int32]  # place in `epochs`, -1 for what the model was first trained on
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    arrived_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.log)

    @property
    def has_base(self) -> bool:
        """Whether what the model was first trained on is part of it."""
        return bool((self.epoch == _BASE).any())

    def fresh(self, learned: Positions) -> Mask:
        """Return which events `(n,)` are not learned yet."""
        fresh = self.epoch != _BASE
        for code, name in enumerate(self.epochs):
            for partition, offset in learned.get(name, {}).items():
                fresh &= ~((self.epoch == code) & (self.partition == int(partition)) & (self.offset < offset))
        return fresh

    def cut(self, fresh: Mask, held_out: float) -> "Cut":
        """Split what is fresh where it arrived: the newest share is held out.

        The cut is an offset in each partition, so that the next round begins exactly there.

        Raises:
            InvalidInput: nothing is fresh.
        """
        if not fresh.any():
            raise InvalidInput("there are no fresh interactions to learn from")
        moment = float(np.quantile(self.arrived_s[fresh], 1 - held_out))
        test = np.zeros(len(self), bool)
        positions: dict[str, dict[str, int]] = {}
        places = np.unique(np.stack([self.epoch[fresh], self.partition[fresh]], axis=1), axis=0)
        for code, partition in places.tolist():
            here = fresh & (self.epoch == code) & (self.partition == partition)
            late = self.offset[here & (self.arrived_s >= moment)]
            end = int(late.min()) if len(late) else int(self.offset[here].max()) + 1
            test |= here & (self.offset >= end)
            positions.setdefault(self.epochs[code], {})[str(partition)] = end
        return Cut(fresh & ~test, test, positions)


@dataclass(frozen=True, eq=False)
class Cut:
    """What a round learns, what it is asked about, and the position of a model that learned the first."""

    teach: Mask
    test: Mask
    positions: dict[str, dict[str, int]]


def traffic_of(happened: Iterable[Happened], base: InteractionLog | None, items: Sequence[str]) -> Traffic:
    """Join what a model was first trained on (where it is at hand) and what happened since.

    Args:
        items: a model's vocabulary; it comes first in that of the result, in its order.
    """
    found = list(happened)
    log, _ = log_of_events([one.row for one in found], items=items if base is None else (*items, *base.items))
    if len(log) != len(found):
        raise InvalidInput("only interactions with a video can be learned from")
    order = np.argsort(np.asarray([one.row.time.timestamp() for one in found], np.float64), kind="stable")
    epochs = tuple(dict.fromkeys(one.epoch for one in found))
    code = {name: place for place, name in enumerate(epochs)}
    columns = (
        np.asarray([code[one.epoch] for one in found], np.int32)[order],
        np.asarray([one.partition for one in found], np.int32)[order],
        np.asarray([one.offset for one in found], np.int64)[order],
        np.asarray([one.arrived_s for one in found], np.float64)[order],
    )
    if base is None:
        return Traffic(log, epochs, *columns)
    joined, by_time = _joined(base, log)
    n = len(base)
    before = (
        np.full(n, _BASE, np.int32),
        np.full(n, -1, np.int32),
        np.full(n, -1, np.int64),
        base.time,
    )
    together = [np.concatenate([old, new])[by_time] for old, new in zip(before, columns, strict=True)]
    return Traffic(joined, epochs, *together)


def part(log: InteractionLog, keep: Mask) -> InteractionLog:
    """Return the rows where `keep` is true, with the same vocabularies."""
    names = ("user", "item", "kind", "value", "time")
    return InteractionLog(log.users, log.items, *(getattr(log, name)[keep] for name in names))


def _joined(base: InteractionLog, log: InteractionLog) -> tuple[InteractionLog, NDArray[np.int64]]:
    """Return both logs as one in the order of time, over `log`'s items, and the order of `base` then `log` in it."""
    users = {name: place for place, name in enumerate(dict.fromkeys((*base.users, *log.users)))}
    items = {name: place for place, name in enumerate(log.items)}

    def renamed(ids: Sequence[str], places: NDArray[np.int32], of: Mapping[str, int]) -> NDArray[np.int32]:
        table = np.asarray([of[name] for name in ids], np.int32) if ids else np.zeros(0, np.int32)
        return table[places] if len(places) else np.zeros(0, np.int32)

    times = np.concatenate([base.time, log.time])
    order = np.argsort(times, kind="stable")
    user = np.concatenate([renamed(base.users, base.user, users), renamed(log.users, log.user, users)])
    item = np.concatenate([renamed(base.items, base.item, items), log.item])
    return (
        InteractionLog(
            users=tuple(users),
            items=log.items,
            user=user[order],
            item=item[order],
            kind=np.concatenate([base.kind, log.kind])[order],
            value=np.concatenate([base.value, log.value])[order],
            time=times[order],
        ),
        order,
    )

"""What users did with items, as columns: one row an event, ids as places in a vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

KINDS = (
    "rating",  # a number a person gave; `value` is the number
    "impression",
    "click",
    "watch",  # `value` is the fraction watched, NaN where the length is not known
    "like",
    "dislike",
    "share",
    "save",
    "comment",
    "hide",
    "report",
)
KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}


@dataclass(frozen=True, eq=False)
class InteractionLog:
    """Events in the order of time. Arrays are read-only and of one length `n`.

    `user` and `item` are places in the vocabularies `users` and `items`; a vocabulary may hold ids without events.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    kind: NDArray[np.uint8]  # place in KINDS
    value: NDArray[np.float32]  # a rating, or the fraction watched; NaN where the kind has none
    time: NDArray[np.float64]  # seconds since 1970, UTC

    def __post_init__(self) -> None:
        columns = (self.user, self.item, self.kind, self.value, self.time)
        if len({len(column) for column in columns}) != 1:
            raise InvalidInput(f"columns of different lengths: {[len(column) for column in columns]}")
        if len(self) and not np.isfinite(self.time).all():
            raise InvalidInput("every interaction needs a finite time")
        for name, places, ids in (("user", self.user, self.users), ("item", self.item, self.items)):
            if len(places) and not (places.min() >= 0 and places.max() < len(ids)):
                raise InvalidInput(f"a row names a {name} outside the vocabulary of {len(ids)}")
        for column in columns:
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.user)


def make_log(
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    times: NDArray[np.float64],
    *,
    kinds: Sequence[str] | None = None,
    values: NDArray[np.float32] | None = None,
    users: Iterable[str] = (),
    items: Iterable[str] = (),
) -> InteractionLog:
    """Build a log from ids. `users` and `items` are put first in the vocabularies, in their order.

    Rows of the same time keep the order in which they were given.
    """
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise InvalidInput(f"no such kind of interaction: {', '.join(unknown[:5])}; kinds are {', '.join(KINDS)}")
    order = np.argsort(times, kind="stable")
    user_names, user = _encode(user_ids, users)
    item_names, item = _encode(item_ids, items)
    codes = np.fromiter((KIND_CODES[kind] for kind in kinds or ("rating",) * len(user)), np.uint8, len(user))
    numbers = np.full(len(user), np.nan, np.float32) if values is None else np.asarray(values, np.float32)
    return InteractionLog(
        users=user_names,
        items=item_names,
        user=user[order],
        item=item[order],
        kind=codes[order],
        value=numbers[order],
        time=np.asarray(times, np.float64)[order],
    )


def _encode(ids: Sequence[str], first: Iterable[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    places: dict[str, int] = {}
    for name in first:
        places.setdefault(name, len(places))
    column = np.fromiter((places.setdefault(name, len(places)) for name in ids), np.int32, len(ids))
    return tuple(places), column


class EventRow(NamedTuple):
    """One interaction event of ours, as plain values: what an archive's row or a decoded event holds."""

    kind: str  # the event's type without `riverlight.interaction.`
    user_id: str
    item_id: str
    time: datetime
    watched_s: float | None = None
    of_s: float | None = None


def log_of_events(
    rows: Iterable[EventRow], *, users: Iterable[str] = (), items: Iterable[str] = ()
) -> tuple[InteractionLog, int]:
    """Turn our own events into a log; return it and how many rows were left out.

    Searches and follows name no video and are left out. A watch counts as the fraction `watched_s / of_s`, at most 1.
    """
    kept: list[EventRow] = []
    left_out = 0
    for row in rows:
        kind = row.kind.removeprefix("riverlight.interaction.")
        if kind in KIND_CODES and row.user_id and row.item_id:
            kept.append(row._replace(kind=kind))
        else:
            left_out += 1
    return (
        make_log(
            [row.user_id for row in kept],
            [row.item_id for row in kept],
            np.asarray([row.time.timestamp() for row in kept], np.float64),
            kinds=[row.kind for row in kept],
            values=np.asarray([_fraction(row) for row in kept], np.float32),
            users=users,
            items=items,
        ),
        left_out,
    )


def _fraction(row: EventRow) -> float:
    if row.kind != "watch" or row.watched_s is None or not row.of_s:
        return float("nan")
    return min(1.0, row.watched_s / row.of_s)

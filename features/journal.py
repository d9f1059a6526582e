"""What recent batches counted, until it is folded into the buckets: one packed row a batch, and its sum in memory."""

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from features.buckets import add_to_buckets
from features.delta import Delta, EntityKey, HourKey
from features.state_meta import Meta
from features.statements import write_rows

_Packed = tuple[list[tuple[int, str, int, int, int, int]], list[tuple[int, str, int]]]
_PACKED = msgspec.msgpack.Decoder(_Packed)


class Journal:
    """The table `journal`. Every method is called inside a transaction; after one that failed, `forget_memory`."""

    def __init__(self, db: sqlite3.Connection, meta: Meta) -> None:
        self._db = db
        self._meta = meta
        self.forget_memory()

    def forget_memory(self) -> None:
        """Begin as if nothing was read yet; `catch_up` reads it."""
        self._version = -1  # how often the journal was folded, by anybody
        self._seq = 0  # of the last batch that is in memory
        self._counts: dict[HourKey, list[int]] = {}
        self._newest_us: dict[EntityKey, int] = {}

    def __len__(self) -> int:
        """How many counts are in memory."""
        return len(self._counts)

    def catch_up(self, meta: Mapping[str, int]) -> None:
        """Read what is durable and not in memory: all of it at first, later what other processes did."""
        if meta["folds"] != self._version:
            self.forget_memory()
            self._version = meta["folds"]
        if meta["appended"] == self._seq:
            return
        for (packed,) in self._db.execute("SELECT delta FROM journal WHERE seq > ?", (self._seq,)).fetchall():
            counts, newest = _PACKED.decode(packed)
            self._absorb({row[:3]: row[3:] for row in counts}, {row[:2]: row[2] for row in newest})
        self._seq = meta["appended"]

    def append(self, seq: int, delta: Delta) -> None:
        """Add the counts of batch number `seq`."""
        counts = [(*key, *added) for key, added in delta.counts.items()]
        packed = msgspec.msgpack.encode((counts, [(*key, newest) for key, newest in delta.newest_us.items()]))
        self._db.execute("INSERT INTO journal VALUES (?, ?)", (seq, packed))
        self._absorb(delta.counts, delta.newest_us)
        self._seq = seq

    def fold(self) -> None:
        """Bring what is in memory, hence the journal, into the buckets, and mark its entities dirty."""
        if not self._counts and not self._newest_us:
            return
        add_to_buckets(self._db, self._counts)
        seq = self._meta.next("seq")
        write_rows(
            self._db,
            "INSERT INTO dirty (view, entity, seq, newest_us)",
            [(view, entity, seq, newest) for (view, entity), newest in self._newest_us.items()],
            "ON CONFLICT (view, entity) DO UPDATE"
            " SET seq = excluded.seq, newest_us = max(newest_us, excluded.newest_us)",
        )
        self._db.execute("DELETE FROM journal")
        self._version += 1
        self._meta.set("folds", self._version)
        self._counts, self._newest_us = {}, {}

    def _absorb(self, counts: Mapping[HourKey, Sequence[int]], newest_us: Mapping[EntityKey, int]) -> None:
        for key, added in counts.items():
            held = self._counts.get(key)
            if held is None:
                self._counts[key] = list(added)
            else:
                for index, number in enumerate(added):
                    held[index] += number
        for entity, newest in newest_us.items():
            if newest > self._newest_us.get(entity, -1):
                self._newest_us[entity] = newest

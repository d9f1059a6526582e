"""Which events were counted: their ids, exactly, for as long as they can come again.

An id is kept as its 128-bit BLAKE2b digest and the day of its event. The newest are in a set in memory (and in the
state's database, which is where they survive a crash); when there are `RUN_IDS` of them they become a run: a sorted
file of 18 bytes an id, mapped and searched where it lies. So the memory that is ours is that of one run's worth of
ids, whatever the number kept; beyond it there is the page cache, which the system takes back when it needs it.
"""

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES, ID_BYTES = 16, 18
RUN_IDS = 100_000  # ids in memory before they become a run: about 15 MB
MAX_RUN_IDS = 16_000_000  # runs of this size are not merged any more: writing one anew takes about a second
_SLICES = 64  # parts of a merge, so that it needs memory for one of them only
_LAST_DAY = 2**16 - 1

U64 = NDArray[np.uint64]


def digest(event_id: str) -> bytes:
    """Return what stands for an event id here (16 bytes)."""
    return hashlib.blake2b(event_id.encode(), digest_size=DIGEST_BYTES).digest()


def pack(ids: dict[bytes, int]) -> bytes:
    """Return `{digest: day}` as bytes, 18 an id."""
    return b"".join([key + min(max(day, 0), _LAST_DAY).to_bytes(2, "little") for key, day in ids.items()])


def unpack(packed: bytes) -> dict[bytes, int]:
    """Return what was packed."""
    return {
        packed[at : at + DIGEST_BYTES]: int.from_bytes(packed[at + DIGEST_BYTES : at + ID_BYTES], "little")
        for at in range(0, len(packed), ID_BYTES)
    }


@dataclass(frozen=True, eq=False)
class Run:
    """A sorted file of ids, mapped: all first halves of the digests, then all second halves, then all days."""

    path: Path
    high: U64  # (n,) ascending
    low: U64  # (n,)
    day: NDArray[np.uint16]  # (n,)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Map a file. Raises OSError when it cannot be read, ValueError when its size is wrong."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size % ID_BYTES or not size:
                raise ValueError(f"{path} is not a run of ids: {size} bytes")
            return cls.of(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), size // ID_BYTES)

    @classmethod
    def of(cls, path: Path, buffer: Any, ids: int) -> "Run":
        high = np.frombuffer(buffer, np.uint64, ids)
        low = np.frombuffer(buffer, np.uint64, ids, 8 * ids)
        return cls(path, high, low, np.frombuffer(buffer, np.uint16, ids, 16 * ids))

    def find(self, high: U64, low: U64, forgotten_before_day: int) -> list[int]:
        """Return the positions of those asked for, by ascending `high`, that are here and not forgotten."""
        place = np.searchsorted(self.high, high)
        candidates = np.flatnonzero(self.high[np.minimum(place, len(self.high) - 1)] == high)
        found: list[int] = []
        for asked in candidates.tolist():
            at = int(place[asked])
            while at < len(self.high) and self.high[at] == high[asked]:
                if self.low[at] == low[asked] and self.day[at] >= forgotten_before_day:
                    found.append(asked)
                    break
                at += 1
        return found


def search(runs: Sequence[Run], digests: Sequence[bytes], forgotten_before_day: int) -> set[bytes]:
    """Return those of the digests that are in some run, on a day that is not forgotten."""
    if not runs or not digests:
        return set()
    asked = _halves(digests)
    order = np.argsort(asked[:, 0])  # neighbours share the path through a run
    high, low = np.ascontiguousarray(asked[order, 0]), asked[order, 1]
    return {digests[order[at]] for run in runs for at in run.find(high, low, forgotten_before_day)}


def write_run(path: Path, ids: dict[bytes, int], forgotten_before_day: int) -> Run | None:
    """Write ids as a run, durably; None when all of them are forgotten."""
    halves = _halves(list(ids))
    days = np.clip(np.fromiter(ids.values(), np.int64, len(ids)), 0, _LAST_DAY).astype(np.uint16)
    order = np.argsort(halves[:, 0])
    order = order[days[order] >= forgotten_before_day]
    newest = Run(path, np.ascontiguousarray(halves[order, 0]), np.ascontiguousarray(halves[order, 1]), days[order])
    return merge_runs(path, [newest], forgotten_before_day)


def merge_runs(path: Path, runs: Sequence[Run], forgotten_before_day: int) -> Run | None:
    """Write one run of several without what is forgotten, durably; None when nothing is left. `path` is new."""
    ids = sum(int(np.count_nonzero(run.day >= forgotten_before_day)) for run in runs)
    if not ids:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb+") as file:
        file.truncate(ids * ID_BYTES)
        with mmap.mmap(file.fileno(), ids * ID_BYTES) as buffer:
            _merge_into(Run.of(path, buffer, ids), runs, forgotten_before_day)
            buffer.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Run.open(path)


def runs_to_merge(sizes: Sequence[int]) -> int:
    """Return how many of the newest runs to make one of: those that are not twice what comes after them together.

    Sizes then at least double from one run to the next older, so there are few, and an id is seldom written again.
    """
    together, count = sizes[-1], 1
    for size in reversed(sizes[:-1]):
        if size >= 2 * together or size + together > MAX_RUN_IDS:
            break
        together, count = together + size, count + 1
    return count


def _merge_into(made: Run, runs: Sequence[Run], forgotten_before_day: int) -> None:
    edges = np.arange(1, _SLICES, dtype=np.uint64) * np.uint64(2**64 // _SLICES)
    bounds = [[0, *np.searchsorted(run.high, edges).tolist(), len(run.high)] for run in runs]
    filled = 0
    for part in range(_SLICES):
        parts = [slice(edge[part], edge[part + 1]) for edge in bounds]
        high, low, day = (
            np.concatenate([getattr(run, name)[where] for run, where in zip(runs, parts, strict=True)])
            for name in ("high", "low", "day")
        )
        order = np.argsort(high, kind="stable")
        order = order[day[order] >= forgotten_before_day]
        where = slice(filled, filled + len(order))
        made.high[where], made.low[where], made.day[where] = high[order], low[order], day[order]
        filled = where.stop


def _halves(digests: Sequence[bytes]) -> U64:
    """Return `(n, 2)` the halves of digests as integers."""
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)

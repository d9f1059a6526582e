"""Finds all 64-bit hashes within a Hamming distance, exactly, without comparing with each.

Multi-index hashing (Norouzi, Punjani, Fleet 2012): cut the hash into 4 bands of 16 bits, with a table for each, and ask
every table for all values within some bits of the query's band. Allow the bands r1 to r4 bits. A hash that no table
gives differs in more than that in each band, so in at least (r1 + 1) + … + (r4 + 1) bits: when this sum is the distance
+ 1, every neighbour is found (the general pigeonhole principle of Qin et al. 2018). Distance 6 is (1, 1, 1, 0): 52
probes. 7 takes 68, 8 takes 188, 12 takes 1,108.

A band is every fourth bit. Neighbouring bits of a perceptual hash describe neighbouring frequencies and vary together;
contiguous bands would put many hashes into few slots.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.moderation.known_harm.hashes import Hashes

BANDS, BAND_BITS = 4, 16
SLOTS = 1 << BAND_BITS

_MASKS = tuple(np.uint64(sum(1 << bit for bit in range(band, 64, BANDS))) for band in range(BANDS))
_PAIRS = 2_000_000  # comparisons in memory at once: 8 bytes each, a few times

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Neighbours: the query at `queries[i]` and the row at `rows[i]` differ in `distances[i]` bits."""

    queries: Ints
    rows: Ints
    distances: NDArray[np.uint8]

    @classmethod
    def none(cls) -> "Pairs":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))

    @classmethod
    def join(cls, parts: "list[Pairs]") -> "Pairs":
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.queries for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.distances for part in parts]),
        )


def band_values(hashes: Hashes, band: int) -> NDArray[np.uint16]:
    """Return the 16 bits of a band of each hash, `(n,)`: bits `band`, `band + 4`, … gathered to one number."""
    x = (hashes >> np.uint64(band)) & np.uint64(0x1111_1111_1111_1111)
    for shift, mask in ((3, 0x0303030303030303), (6, 0x000F000F000F000F), (12, 0x000000FF000000FF), (24, 0xFFFF)):
        x = (x | (x >> np.uint64(shift))) & np.uint64(mask)
    return x.astype(np.uint16)


def radii(distance: int) -> tuple[int, ...]:
    """Return how many bits each band may differ in; -1 for a band that need not be asked."""
    each, more = divmod(distance + 1, BANDS)
    return tuple(min(each - 1 + (band < more), BAND_BITS) for band in range(BANDS))


@cache
def flips(radius: int) -> NDArray[np.uint16]:
    """Return every 16-bit number with at most `radius` bits set; none for -1."""
    return np.array(
        [
            sum(1 << bit for bit in bits)
            for count in range(radius + 1)
            for bits in combinations(range(BAND_BITS), count)
        ],
        dtype=np.uint16,
    )


def scan(hashes: Hashes, queries: Hashes, distance: int) -> Pairs:
    """Return all neighbours by comparing each query with each hash."""
    if not hashes.size or not queries.size:
        return Pairs.none()
    found = []
    step = max(1, _PAIRS // hashes.size)
    for start in range(0, queries.size, step):
        bits = np.bitwise_count(queries[start : start + step, None] ^ hashes[None, :])
        at, rows = np.nonzero(bits <= distance)
        found.append(Pairs(at + start, rows, bits[at, rows]))
    return Pairs.join(found)


class BandIndex:
    """Tables over hashes that do not change. 48 bytes a hash and 1 MB; safe to read from any number of threads."""

    def __init__(self, hashes: Hashes) -> None:
        """Build the tables over `(n,)` hashes; rows in answers are positions in it. 0.1 s for 1,000,000."""
        self.hashes = hashes
        self._rows: list[NDArray[np.int32]] = []  # by band: rows in the order of their slots
        self._sorted: list[Hashes] = []  # their hashes, so that a slot is read in one go
        self._starts: list[NDArray[np.int32]] = []  # by band, (SLOTS + 1,): where a slot begins
        for band in range(BANDS):
            values = band_values(hashes, band)
            order = np.argsort(values, kind="stable")
            counts = np.bincount(values, minlength=SLOTS)
            self._rows.append(order.astype(np.int32))
            self._sorted.append(hashes[order])
            self._starts.append(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))

    def __len__(self) -> int:
        return int(self.hashes.size)

    @property
    def nbytes(self) -> int:
        return self.hashes.nbytes + sum(
            part.nbytes for parts in (self._rows, self._sorted, self._starts) for part in parts
        )

    def search(self, queries: Hashes, distance: int) -> Pairs:
        """Return all rows within `distance` of each query, each once, by query and row. Exact for every distance."""
        probes = [flips(bits) for bits in radii(distance)]
        per_query = sum(part.size for part in probes) * (1 + len(self) / SLOTS)
        if per_query > len(self):
            return scan(self.hashes, queries, distance)
        step = max(1, int(_PAIRS / max(1.0, per_query)))
        found = []
        for start in range(0, queries.size, step):
            part = queries[start : start + step]
            found += [self._search_band(part, start, band, probes[band], distance) for band in range(BANDS)]
        pairs = Pairs.join(found)
        # A near neighbour is found in several bands.
        _, first = np.unique(pairs.queries * max(1, len(self)) + pairs.rows, return_index=True)
        return Pairs(pairs.queries[first], pairs.rows[first], pairs.distances[first])

    def _search_band(self, queries: Hashes, offset: int, band: int, probes: NDArray[np.uint16], distance: int) -> Pairs:
        starts = self._starts[band]
        slots = (band_values(queries, band)[:, None] ^ probes[None, :]).ravel().astype(np.int64)
        begin = starts[slots]
        length = starts[slots + 1] - begin
        total = int(length.sum())
        if total > 4 * _PAIRS and queries.size > 1:  # crowded slots: halve, so that memory stays bounded
            half = queries.size // 2
            return Pairs.join(
                [
                    self._search_band(queries[:half], offset, band, probes, distance),
                    self._search_band(queries[half:], offset + half, band, probes, distance),
                ]
            )
        ends = np.cumsum(length)
        # Positions begin[0], begin[0]+1, …, begin[1], …: a running count, moved to where each slot begins.
        places = np.arange(total, dtype=np.int32) + np.repeat((begin - (ends - length)).astype(np.int32), length)
        per_query = length.reshape(queries.size, probes.size).sum(axis=1)
        bits = np.bitwise_count(self._sorted[band][places] ^ np.repeat(queries, per_query))
        hit = np.flatnonzero(bits <= distance)
        owners = np.searchsorted(np.cumsum(per_query), hit, side="right")
        return Pairs(owners + offset, self._rows[band][places[hit]].astype(np.int64), bits[hit])

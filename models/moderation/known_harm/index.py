"""The index of known harmful media: who is near to a hash, while hashes are added and removed."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from models.moderation.known_harm.bands import BandIndex, Ints, scan
from models.moderation.known_harm.hashes import HashChange, Hashes, Hit, format_hash, parse_hash, parse_hashes

MAX_LISTS = 64  # each is one bit of a hash's mask
FRESH_LIMIT = 4_096

Masks = NDArray[np.uint64]


@dataclass(frozen=True)
class Matches:
    """What a search found, one entry per near hash: `masks` has a bit for each list in `names` that it is on."""

    queries: Ints
    hashes: Hashes
    masks: Masks
    distances: NDArray[np.uint8]
    names: tuple[str, ...]


@dataclass(frozen=True)
class _View:
    """What readers see. Masks are changed in place, one aligned number at a time: a reader sees the old or the new."""

    base: BandIndex  # its hashes are distinct and ascending
    base_masks: Masks
    fresh: Hashes  # the first `n_fresh` count
    fresh_masks: Masks
    n_fresh: int
    names: tuple[str, ...]


class KnownHarm:
    """Lists of 64-bit perceptual hashes, searched within a Hamming distance.

    Exact: every listed hash within the distance is found, for every distance (`models.moderation.known_harm.bands`); 8
    takes about three times the probes of 7, and 12 sixteen times. A change counts for every search that begins after
    `apply` returned. New hashes go to a small buffer that is compared one by one, and into the tables when 4,096 wait.

    Searches take no lock and can run in any thread while another applies changes; changes wait for one another.
    Memory: about 57 bytes a hash, twice that for the moment in which the tables are made anew.
    """

    def __init__(self, *, fresh_limit: int = FRESH_LIMIT) -> None:
        self._limit = fresh_limit
        self._lock = threading.Lock()
        self._where: dict[int, int] = {}  # hash -> its place in the fresh buffer
        self._dead = 0
        self._applied = 0
        self._view = self._empty_view(np.zeros(0, np.uint64), np.zeros(0, np.uint64), ())

    def apply(self, changes: Sequence[HashChange]) -> int:
        """Add and remove hashes, in order, and return how many changes made a difference.

        What is there already is not added twice; what is not there is removed without complaint. 1,000,000 at once take
        a few seconds. Raises InvalidInput, and changes nothing, for text that is no hash or a list too many.
        """
        if not changes:
            return 0
        hashes = parse_hashes(change.phash for change in changes)
        adds = np.fromiter((change.op == "add" for change in changes), dtype=np.bool_, count=len(changes))
        with self._lock:
            numbers, names = self._numbers(changes)
            kept = _last_of_each(hashes, numbers)
            self._view = self._renamed(names)
            changed = self._change(hashes[kept], np.uint64(1) << numbers[kept], adds[kept])
            self._applied += changed
            return changed

    def lookup(self, phashes: Sequence[str], *, distance: int) -> list[list[Hit]]:
        """Return, for each hash (16 hex characters), the nearest of each list within `distance` bits, nearest first.

        Of equally near ones the smallest is told. Raises InvalidInput for text that is no hash.
        """
        found = self.search(parse_hashes(phashes), distance)
        nearest: list[dict[str, Hit]] = [{} for _ in phashes]
        for at in np.lexsort((found.hashes, found.distances)).tolist():
            hits, mask = nearest[found.queries[at]], int(found.masks[at])
            while mask:
                name = found.names[(mask & -mask).bit_length() - 1]
                mask &= mask - 1
                if name not in hits:
                    hits[name] = Hit(
                        list_name=name, known=format_hash(int(found.hashes[at])), distance=int(found.distances[at])
                    )
        return [sorted(hits.values(), key=lambda hit: (hit.distance, hit.list_name)) for hits in nearest]

    def search(self, queries: Hashes, distance: int) -> Matches:
        """Return every listed hash within `distance` bits of each of the `(n,)` queries, each pair once."""
        view = self._view
        base = view.base.search(queries, distance)
        fresh = scan(view.fresh[: view.n_fresh], queries, distance)
        masks = np.concatenate([view.base_masks[base.rows], view.fresh_masks[fresh.rows]])
        listed = masks != 0
        return Matches(
            np.concatenate([base.queries, fresh.queries])[listed],
            np.concatenate([view.base.hashes[base.rows], view.fresh[fresh.rows]])[listed],
            masks[listed],
            np.concatenate([base.distances, fresh.distances])[listed],
            view.names,
        )

    def __contains__(self, listed: tuple[str, str]) -> bool:
        """Say whether `(list, hash)` is listed."""
        name, phash = listed
        found = self.search(np.array([parse_hash(phash)], np.uint64), 0)
        return name in found.names and bool((found.masks >> np.uint64(found.names.index(name)) & np.uint64(1)).any())

    def counts(self) -> dict[str, int]:
        """Return how many hashes each list has."""
        view = self._view
        masks = np.concatenate([view.base_masks, view.fresh_masks[: view.n_fresh]])
        return {
            name: int(np.count_nonzero(masks & (np.uint64(1) << np.uint64(number))))
            for number, name in enumerate(view.names)
        }

    @property
    def applied(self) -> int:
        """How many changes made a difference so far: the version of what is searched."""
        return self._applied

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, masks and buffer."""
        view = self._view
        return view.base.nbytes + view.base_masks.nbytes + view.fresh.nbytes + view.fresh_masks.nbytes

    def _numbers(self, changes: Sequence[HashChange]) -> tuple[NDArray[np.uint64], tuple[str, ...]]:
        numbers = {name: number for number, name in enumerate(self._view.names)}
        for change in changes:
            numbers.setdefault(change.list_name, len(numbers))
        if len(numbers) > MAX_LISTS:
            raise InvalidInput(f"there are {len(numbers)} lists of known harm; {MAX_LISTS} is the most. Join some")
        return (
            np.fromiter((numbers[change.list_name] for change in changes), dtype=np.uint64, count=len(changes)),
            tuple(numbers),
        )

    def _change(self, hashes: Hashes, bits: Masks, adds: NDArray[np.bool_]) -> int:
        """Apply changes of which no two are about the same hash and list."""
        view = self._view
        places = np.searchsorted(view.base.hashes, hashes)
        inside = places < len(view.base)
        inside[inside] = view.base.hashes[places[inside]] == hashes[inside]
        rows, its_bits, its_adds = places[inside], bits[inside], adds[inside]
        differs = ((view.base_masks[rows] & its_bits) != 0) != its_adds
        changed = int(np.count_nonzero(differs))
        for add in (True, False):
            chosen = differs & (its_adds == add)
            if add:
                np.bitwise_or.at(view.base_masks, rows[chosen], its_bits[chosen])
            else:
                np.bitwise_and.at(view.base_masks, rows[chosen], ~its_bits[chosen])
        if changed:
            self._dead = int(np.count_nonzero(view.base_masks == 0))
        new = ~inside
        changed += self._change_fresh(hashes[new], bits[new], adds[new])
        view = self._view
        if view.n_fresh >= self._limit or self._dead > max(self._limit, len(view.base) // 4):
            self._merge(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
        return changed

    def _change_fresh(self, hashes: Hashes, bits: Masks, adds: NDArray[np.bool_]) -> int:
        known = np.fromiter((value in self._where for value in hashes.tolist()), np.bool_, hashes.size)
        changed = 0
        masks = self._view.fresh_masks
        for value, bit, add in zip(hashes[known].tolist(), bits[known], adds[known].tolist(), strict=True):
            place = self._where[value]
            after = masks[place] | bit if add else masks[place] & ~bit
            changed += int(after != masks[place])
            masks[place] = after
        added = ~known & adds
        changed += int(np.count_nonzero(added))
        if self._view.n_fresh + int(np.count_nonzero(added)) > self._limit:
            self._merge(hashes[added], bits[added])
        else:
            self._append(hashes[added], bits[added])
        return changed

    def _append(self, hashes: Hashes, bits: Masks) -> None:
        """Put hashes behind those in the buffer, then let readers see them. One may come once for each of its lists."""
        view, n_fresh = self._view, self._view.n_fresh
        for value, bit in zip(hashes.tolist(), bits, strict=True):
            place = self._where.setdefault(value, n_fresh)
            if place == n_fresh:
                view.fresh[place], view.fresh_masks[place] = value, bit
                n_fresh += 1
            else:
                view.fresh_masks[place] |= bit
        self._view = _View(view.base, view.base_masks, view.fresh, view.fresh_masks, n_fresh, view.names)

    def _merge(self, hashes: Hashes, bits: Masks) -> None:
        """Make the tables anew, of everything listed and more hashes; readers see the old ones until then."""
        view = self._view
        every = np.concatenate([view.base.hashes, view.fresh[: view.n_fresh], hashes])
        masks = np.concatenate([view.base_masks, view.fresh_masks[: view.n_fresh], bits])
        listed = masks != 0
        distinct, place = np.unique(every[listed], return_inverse=True)
        joined = np.zeros(distinct.size, np.uint64)
        np.bitwise_or.at(joined, place, masks[listed])
        self._view = self._empty_view(distinct, joined, view.names)
        self._where, self._dead = {}, 0

    def _empty_view(self, hashes: Hashes, masks: Masks, names: tuple[str, ...]) -> _View:
        room = np.zeros(self._limit, np.uint64)
        return _View(BandIndex(hashes), masks, room, room.copy(), 0, names)

    def _renamed(self, names: tuple[str, ...]) -> _View:
        view = self._view
        return _View(view.base, view.base_masks, view.fresh, view.fresh_masks, view.n_fresh, names)


def _last_of_each(hashes: Hashes, numbers: NDArray[np.uint64]) -> Ints:
    """Return the positions of the last word on each hash of each list."""
    order = np.lexsort((numbers, hashes))  # stable: what came later stays behind
    same = (np.diff(hashes[order]) == 0) & (np.diff(numbers[order]) == 0)
    return order[np.append(~same, True)]

"""Comparing indexes: is the live one what a rebuild from the topic gives?"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.index.capture import Capture
from models.index.rows import code, unpack_row
from models.index.segment_files import Rows
from models.index.segments import Segment


@dataclass(frozen=True)
class IndexDifference:
    """Item ids, sorted, seen from the index under test: what it lacks, has too much, and has in another state."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)


@dataclass(frozen=True)
class Fingerprint:
    """The state of an index as hashes: one of everything, and 16 bytes for each item."""

    state_hash: str
    captured: Capture
    items: NDArray[np.void]  # of `_ITEM`, in the order of the captured rows

    def differences(self, reference: "Fingerprint") -> IndexDifference:
        """Return how this state differs from another. Only items whose hashes differ are read again."""
        ours, theirs = (
            self._named(~_in(self.items, reference.items)),
            reference._named(~_in(reference.items, self.items)),
        )
        return IndexDifference(
            missing=tuple(sorted(theirs - ours)),
            extra=tuple(sorted(ours - theirs)),
            different=tuple(sorted(ours & theirs)),
        )

    def _named(self, mask: NDArray[np.bool_]) -> set[str]:
        wanted = np.flatnonzero(mask)
        names: set[str] = set()
        before = 0
        for segment, rows in self.captured.parts:
            here = wanted[np.searchsorted(wanted, before) : np.searchsorted(wanted, before + rows.size)] - before
            names.update(item_id for item_id, _ in _digests(segment, rows[here]))
            before += rows.size
        return names


_ITEM = np.dtype([("id", "<u8"), ("state", "<u8")])


def fingerprint(captured: Capture) -> Fingerprint:
    """Hash every item's id, version, vector and state, whatever the order and structure."""
    total = 0
    items = np.zeros(sum(rows.size for _, rows in captured.parts), dtype=_ITEM)
    at = 0
    for segment, rows in captured.parts:
        for item_id, digest in _digests(segment, rows):
            total += int.from_bytes(digest, "little")  # a sum does not depend on the order
            items[at] = code(item_id), int.from_bytes(digest[:8], "little")
            at += 1
    return Fingerprint(f"{total % 2**256:064x}", captured, items)


def _digests(segment: Segment, rows: Rows) -> Iterator[tuple[str, bytes]]:
    empty = np.zeros(0, dtype=np.float32)
    for chunk in segment.chunks(rows):
        vectors = chunk.vectors.astype("<f4")
        stops = np.cumsum(chunk.lengths).tolist()
        starts = [0, *stops[:-1]]
        for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            entry = unpack_row(chunk.entries[start:stop], empty)
            inner = hashlib.sha256(entry.state.encode() + b"\0" + vectors[row].tobytes()).digest()
            head = f"{entry.item_id}\0{entry.version.time_us}:{entry.version.seq}\0".encode()
            yield entry.item_id, hashlib.sha256(head + inner).digest()


def _in(ours: NDArray[np.void], theirs: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which of our items are among theirs, with the same state."""
    ours, theirs = ours.view("V16"), theirs.view("V16")
    order = np.argsort(theirs.view(_ITEM), order=("id", "state"))
    ranked = theirs.view(_ITEM)[order]
    keys = ranked["id"]
    mask = np.zeros(ours.size, dtype=np.bool_)
    wanted = ours.view(_ITEM)
    for offset in range(4):  # two items share a 64-bit code hardly ever, and four never
        at = np.searchsorted(keys, wanted["id"]) + offset
        inside = at < keys.size
        mask[inside] |= ranked[at[inside]] == wanted[inside]
    return mask

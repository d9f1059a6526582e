"""Comparing indexes: is the live one what a rebuild from the topic gives?"""

import hashlib
from dataclasses import dataclass

from core.entries import Version
from models.index.capture import Capture
from models.index.segments import entry_at


@dataclass(frozen=True)
class IndexDifference:
    """Item ids, sorted, seen from the index under test: what it lacks, has too much, and has in another state."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)


def state_hash(captured: Capture) -> str:
    """Return a hash over every item's id, version, vector and state, whatever the order and structure."""
    total = 0
    for item_id, (version, digest) in _digests(captured).items():
        whole = f"{item_id}\0{version.time_us}:{version.seq}\0".encode() + digest
        total += int.from_bytes(hashlib.sha256(whole).digest(), "little")  # a sum does not depend on the order
    return f"{total % 2**256:064x}"


def differences(captured: Capture, reference: Capture) -> IndexDifference:
    """Return how one index differs from another."""
    ours, theirs = _digests(captured), _digests(reference)
    return IndexDifference(
        missing=tuple(sorted(theirs.keys() - ours.keys())),
        extra=tuple(sorted(ours.keys() - theirs.keys())),
        different=tuple(sorted(item for item in ours.keys() & theirs.keys() if ours[item] != theirs[item])),
    )


def _digests(captured: Capture) -> dict[str, tuple[Version, bytes]]:
    digests: dict[str, tuple[Version, bytes]] = {}
    for segment, rows in captured.rows():
        for row in rows:
            entry = entry_at(segment, int(row))
            digest = hashlib.sha256(entry.state.encode() + b"\0" + entry.vector).digest()
            digests[entry.item_id] = (entry.version, digest)
    return digests

"""The ids of the newest events, to know a producer's repetition when it comes."""

from collections.abc import Iterable

from features.seen_ids import DIGEST_BYTES, digest


class RecentIds:
    """The last `capacity` event ids that were added, as 128-bit digests."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._digests: dict[bytes, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, event_id: object) -> bool:
        return isinstance(event_id, str) and digest(event_id) in self._digests

    def add(self, event_id: str) -> bool:
        """Add an id; False when it is one of the last."""
        key = digest(event_id)
        if key in self._digests:
            return False
        self._digests[key] = None
        if len(self._digests) > self._capacity:
            del self._digests[next(iter(self._digests))]
        return True

    def capture(self) -> list[bytes]:
        return list(self._digests)

    def restore(self, digests: Iterable[bytes]) -> None:
        self._digests = dict.fromkeys(digests)


def split(packed: bytes) -> list[bytes]:
    """Return the digests that were joined to `packed`."""
    return [packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)]

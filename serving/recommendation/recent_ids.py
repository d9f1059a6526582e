"""The ids of the newest events, to know a producer's repetition when it comes."""

from collections import deque
from collections.abc import Iterable

from features.seen_ids import DIGEST_BYTES, digest


class RecentIds:
    """The last `capacity` event ids that were added, as 128-bit digests."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._digests: set[bytes] = set()
        self._order: deque[bytes] = deque()  # oldest first

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, event_id: object) -> bool:
        return isinstance(event_id, str) and digest(event_id) in self._digests

    def add(self, event_id: str) -> bool:
        """Add an id; False when it is one of the last."""
        key = digest(event_id)
        if key in self._digests:
            return False
        self._digests.add(key)
        self._order.append(key)
        if len(self._order) > self._capacity:
            self._digests.discard(self._order.popleft())
        return True

    def capture(self) -> list[bytes]:
        return list(self._order)

    def restore(self, digests: Iterable[bytes]) -> None:
        self._order = deque(digests)
        self._digests = set(self._order)


def split(packed: bytes) -> list[bytes]:
    """Return the digests that were joined to `packed`."""
    return [packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)]

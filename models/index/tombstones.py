"""What was removed, and as of when, so that an older entry that arrives late does not bring it back."""

from core.entries import Version


class Tombstones:
    """The last `limit` removals, in the order they arrived.

    Beyond the limit the oldest are forgotten, and counted. One item's records come from one partition in order, so an
    entry can only be late by a producer's retries: minutes, not hundreds of thousands of removals. (Refusing everything
    older than the newest forgotten removal would be stricter, but replaying partitions one after the other would then
    refuse items that are alive.)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._versions: dict[str, Version] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._versions)

    def version(self, item_id: str) -> Version | None:
        return self._versions.get(item_id)

    def remember(self, item_id: str, version: Version) -> None:
        self._versions.pop(item_id, None)  # to the end of the order
        self._versions[item_id] = version
        while len(self._versions) > self._limit:
            del self._versions[next(iter(self._versions))]
            self.forgotten += 1

    def forget(self, item_id: str) -> None:
        """Drop a removal that a newer entry has replaced."""
        self._versions.pop(item_id, None)

    def copy(self) -> dict[str, Version]:
        return dict(self._versions)

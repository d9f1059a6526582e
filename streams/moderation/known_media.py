"""The known-harm lists of the catalogue, followed; and media of posts found on them."""

from collections.abc import Mapping, Sequence

from models.moderation.known_harm import HashChange, KnownHarm, known_hits
from models.moderation.policy import KnownHit
from storage.moderation import ModerationStore

_CHANGES = 50_000  # read at once


class KnownMediaList:
    """Implements `judges.KnownMedia`. `catch_up` is called by one thread at a time, `hits` by any."""

    def __init__(self, index: KnownHarm, store: ModerationStore) -> None:
        self._index = index
        self._store = store
        self._seq = 0

    def catch_up(self) -> None:
        """Read what changed since the last time. Raises Unavailable."""
        while changes := self._store.known_since(self._seq, limit=_CHANGES):
            self._index.apply(
                [
                    HashChange(list_name=one.list_name, phash=one.hash, op="remove" if one.removed else "add")
                    for one in changes
                ]
            )
            self._seq = changes[-1].seq

    def hits(self, posts: Sequence[Mapping[str, Sequence[str]]], distance: int) -> list[list[KnownHit]]:
        """See `judges.KnownMedia`."""
        return known_hits(self._index, posts, distance=distance)

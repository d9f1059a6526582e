"""The state that is being fed, with its place in the log: what the threads of a follower share."""

import threading
from collections.abc import Callable
from typing import Generic

from core.ports import StoredRecord
from serving.following.place import Place, StartAgain
from serving.following.view import S, View


class Feed(Generic[S]):
    """One thread feeds it. Whoever holds `lock` sees a state and a place that agree."""

    def __init__(self, view: View[S]) -> None:
        self.lock = threading.Lock()
        self.state: S | None = None
        self.place = Place()
        self.changes = 0  # since the process began, whichever states they were made to
        self._view = view

    def begin(self, state: S, place: Place) -> None:
        """Go on with this state from this place."""
        with self.lock:
            self.state, self.place = state, place

    def abandon(self) -> None:
        """Have no state: what it holds cannot be relied on."""
        with self.lock:
            self.state = None

    def apply(self, topic: str, records: list[StoredRecord], on_turn: Callable[[], None]) -> None:
        """Apply records in their order, each with its place; `on_turn` is called before each.

        Raises:
            StartAgain: a record was read before.
        """
        with self.lock:
            assert self.state is not None
            for record in records:
                if self.place.has_read(topic, record):
                    raise StartAgain(f"offset {record.offset} of {topic} partition {record.partition} came again")
                on_turn()
                self.changes += self._view.apply(self.state, topic, record)
                self.place.advance(topic, record)

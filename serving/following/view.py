"""What a follower is given: the state it keeps equal to the log, and what is particular to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from core.ports import StoredRecord
from serving.following.place import Place

S = TypeVar("S")


class View(Protocol[S]):
    """A state made of topics alone, so that every replica comes to the same one.

    The follower calls from its threads: `apply`, `serve` and `capture` never two at a time, the others at any moment.
    """

    name: str  # begins the names of its log lines and threads
    noun: str  # what it is in messages
    metric: str  # the label `index` of its metrics

    def empty(self) -> S:
        """Return a state that has read nothing."""

    def load(self) -> tuple[S, Place] | None:
        """Return the state of the newest whole snapshot and its place; None where there is none."""

    def discard(self, state: S) -> None:
        """Release a state that `load` returned and that is of another log."""

    def apply(self, state: S, topic: str, record: StoredRecord) -> bool:
        """Apply a record; tell whether that changed anything. What is not valid is counted and changes nothing."""

    def serve(self, state: S, place: Place) -> None:
        """Answer from this state, which has read as far as `place`. Called again whenever it has read more."""

    def size(self, state: S) -> dict[str, int]:
        """Return how much it holds, for log lines."""

    def measure(self) -> None:
        """Set the gauges of what answers now."""

    def capture(self, state: S, place: Place) -> Callable[[], Path] | None:
        """Take what must not change while a snapshot is written, in little time; return what writes it.

        None where there are no snapshots: the log is read from its beginning each time.
        """

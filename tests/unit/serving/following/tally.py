"""The simplest thing that can follow a log: a list of what was read, with snapshots in memory."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from core.ports import StoredRecord
from serving.following.place import Place


class Tally:
    """Implements `serving.following.view.View`. Its state is the values of the records that were applied, in order."""

    name = noun = "tally"
    metric = "tally"

    def __init__(self) -> None:
        self.saved: list[tuple[list[bytes], Place]] = []
        self.served: tuple[list[bytes], Place] = ([], Place())
        self.served_sizes: list[int] = []  # of the state, each time that it was told to serve one
        self.applied: list[tuple[str, bytes]] = []
        self.measured = 0
        self.on_apply: Callable[[], None] = lambda: None

    def empty(self) -> list[bytes]:
        return []

    def load(self) -> tuple[list[bytes], Place] | None:
        return (list(self.saved[-1][0]), self.saved[-1][1].copy()) if self.saved else None

    def discard(self, state: list[bytes]) -> None:
        state.clear()

    def apply(self, state: list[bytes], topic: str, record: StoredRecord) -> bool:
        self.on_apply()
        assert record.value is not None
        self.applied.append((topic, record.value))
        state.append(record.value)
        return True

    def serve(self, state: list[bytes], place: Place) -> None:
        self.served = (state, place)
        self.served_sizes.append(len(state))

    def size(self, state: list[bytes]) -> dict[str, int]:
        return {"records": len(state)}

    def measure(self) -> None:
        self.measured += 1

    def capture(self, state: list[bytes], place: Place) -> Callable[[], Path]:
        taken = list(state), place

        def write() -> Path:
            self.saved.append(taken)
            return Path(f"v{len(self.saved)}")

        return write


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.passed_s, UTC)

    def monotonic(self) -> float:
        return self.passed_s


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for something to come about; fail when it takes too long."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)

"""What a goal is: a name, a promise, and the play that puts it to the test."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from infra.chaos.processes import Timeline
from infra.chaos.result import Outcome
from infra.chaos.stage import Stage

Size = TypeVar("Size", int, float)


class SetUp(Protocol):
    """Opens a stage of its own for the run: folder, topics, empty stores. `name` tells several of one run apart."""

    def __call__(self, name: str = "", **changes: dict[str, Any]) -> AbstractContextManager[Stage]: ...


@dataclass(frozen=True)
class Play:
    """What a goal's play is given."""

    seed: int
    short: bool
    stage: SetUp
    timeline: Timeline
    progress: Callable[[float], None]  # 0..1

    def pick(self, full: Size, short: Size) -> Size:
        """Return the size for this form of the goal."""
        return short if self.short else full


@dataclass(frozen=True)
class Goal:
    """One reliability goal."""

    name: str  # G1
    title: str
    what: str  # what is done to whom
    promise: str  # what must hold
    play: Callable[[Play], Outcome]
    embedded: str = ""  # why it cannot be promised on the embedded broker; empty: it is promised there, too
    missing: Callable[[], str] = lambda: ""  # what keeps it from running here

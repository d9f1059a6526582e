"""What the supervisor is told about one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Returns None when the process is ready, else in words what it still lacks. Must answer within about a second.
ReadyCheck = Callable[[], str | None]
Progress = Callable[[str], None]


def ready_at_once() -> str | None:
    """The check of a process that is ready as soon as it runs."""
    return None


def _nothing(progress: Progress) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Backoff:
    """How a process that ends is started again: wait `first_s`, doubling up to `longest_s`, `attempts` times.

    A process that was ready for `forget_after_s` starts with a clean record.
    """

    first_s: float = 0.5
    longest_s: float = 15.0
    attempts: int = 5
    forget_after_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """Return the wait before the next start, after `failures` (1 or more) failed ones."""
        return min(self.longest_s, self.first_s * 2 ** (failures - 1))


@dataclass(frozen=True)
class ProcessSpec:
    """One process: how to start it, when it is ready, what must be ready before it, how to stop it."""

    name: str
    command: Callable[[], list[str]]  # asked for at each start, after `prepare`
    environment: Mapping[str, str]
    after: tuple[str, ...] = ()
    ready: ReadyCheck = ready_at_once
    prepare: Callable[[Progress], None] = _nothing  # before each start
    on_ready: Callable[[Progress], None] = _nothing  # each time it has become ready, before what comes after it
    start_timeout_s: float = 60.0
    stop_grace_s: float = 10.0  # between SIGTERM and SIGKILL
    required: bool = True  # the system has not started without it
    backoff: Backoff = field(default_factory=Backoff)

"""What a goal found, as data: one JSON document for each goal, seed and broker."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from infra.chaos.processes import Happening
from infra.chaos.verifier import Verdict


@dataclass(frozen=True)
class Outcome:
    """What the play of a goal came to, before it is judged."""

    events: int
    verdict: Verdict
    recover_s: float | None = None  # the longest time from a fault to readiness; None: nothing had to recover
    broken: tuple[str, ...] = ()  # promises of the goal beyond the verdict that were not kept
    figures: Mapping[str, float] = field(default_factory=dict)
    parts: tuple[str, ...] = ()  # which real parts took part
    notes: tuple[str, ...] = ()  # what a reader must know to trust it


@dataclass(frozen=True)
class GoalResult:
    """One run of one goal. `skipped` says why it was not run; then the rest is empty."""

    goal: str
    title: str
    promise: str
    broker: str
    broker_version: str
    seed: int
    short: bool
    date: str  # UTC, ISO 8601
    command: str
    machine: str
    took_s: float = 0.0
    events: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    unexpected: int = 0
    dead_lettered: int = 0
    recover_s: float | None = None
    kept: bool = False
    skipped: str = ""
    broken: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    examples: dict[str, list[str]] = field(default_factory=dict)
    timeline: tuple[Happening, ...] = ()

    @property
    def file_name(self) -> str:
        return f"{self.goal}-{self.seed}-{self.broker}{'-short' if self.short else ''}.json"


def write_result(result: GoalResult, folder: Path) -> Path:
    """Write a result where `read_results` finds it; an earlier one of the same goal, seed and broker is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    path.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(result)), indent=1))
    return path


def read_results(folder: Path) -> list[GoalResult]:
    """Return all results in a folder, in the order of goals."""
    decoder: Any = msgspec.json.Decoder(GoalResult)
    found: list[GoalResult] = [decoder.decode(path.read_bytes()) for path in sorted(folder.glob("G*.json"))]
    return sorted(found, key=lambda result: (int(result.goal[1:]), result.broker, result.short, result.seed))

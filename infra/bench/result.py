"""What a benchmark found, as data: figures of every repetition, ratios to a baseline, bars, curves."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measurement:
    """One figure, taken once per repetition: `samples` in the order they were taken, in `unit`."""

    name: str
    unit: str
    better: Better
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True)
class Comparison:
    """How many times better `measurement` is than `baseline`; both taken in turns within the same run."""

    measurement: str
    baseline: str
    ratio: float


@dataclass(frozen=True)
class Bar:
    """What a measurement should reach, and whether its median did."""

    measurement: str
    limit: float
    met: bool


@dataclass(frozen=True)
class Curve:
    """How costs grow: one line per series over the same `x`; a figure that was not taken is None."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    series: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class BenchResult:
    """Everything one benchmark found. `command` makes it again; `notes` say what a reader must know to trust it."""

    name: str
    title: str
    command: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    bars: tuple[Bar, ...] = ()
    curves: tuple[Curve, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchOptions:
    """How to run: `repeats` rounds of each variant in turns, `folder` for scratch, `quick` for a smoke run."""

    folder: Path
    repeats: int = 3
    quick: bool = False
    report: Callable[[str], None] = print  # progress, a line at a time


@dataclass(frozen=True)
class Benchmark:
    """A named benchmark. `run` starts what it needs, measures, and stops it again."""

    name: str
    title: str
    run: Callable[[BenchOptions], BenchResult]


def compare(measurements: Sequence[Measurement], measurement: str, baseline: str) -> Comparison:
    """Return the ratio of the medians, above 1 where `measurement` is better."""
    ours, theirs = _by_name(measurements, measurement), _by_name(measurements, baseline)
    high, low = (ours.median, theirs.median) if ours.better == "higher" else (theirs.median, ours.median)
    return Comparison(measurement, baseline, high / low if low else float("nan"))


def bar(measurements: Sequence[Measurement], measurement: str, limit: float) -> Bar:
    """Return whether the median of `measurement` reaches `limit`."""
    found = _by_name(measurements, measurement)
    return Bar(measurement, limit, found.median >= limit if found.better == "higher" else found.median <= limit)


def _by_name(measurements: Sequence[Measurement], name: str) -> Measurement:
    for measurement in measurements:
        if measurement.name == name:
            return measurement
    raise KeyError(f"no measurement is called {name!r}; there are {', '.join(found.name for found in measurements)}")

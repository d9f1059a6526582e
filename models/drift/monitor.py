"""Drift of one system: its reference, a window of what it sees, and the comparison of the two."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.clock import Clock
from core.errors import Conflict
from models.drift.compare import LEAST_ROWS, Comparison, compare
from models.drift.distributions import Vectors
from models.drift.reference import Feature, Kind, Reference, Rows, reference_of
from models.drift.window import Window
from models.registry.manifest import DRIFT

ACCEPTED_LEAST = 1000
"""Rows that a window needs to become the reference."""


@dataclass(frozen=True)
class DriftReport:
    """What is watched now. `learning` is how many rows are kept so far of the `first` that become a reference for
    what training gave none; None where all is known."""

    system: str
    version: str
    window_s: float
    rows: int
    learning: int | None
    first: int
    features: tuple[Comparison, ...]


@dataclass(frozen=True)
class Limits:
    """`window_s`: the span that is compared. `least`: rows without which nothing is said. `first`: the first live rows
    that become the reference of what training gave none for."""

    window_s: float = 3600.0
    least: int = LEAST_ROWS
    first: int = 2000


class DriftMonitor:
    """Counts rows and compares them with the reference. For several threads."""

    def __init__(
        self,
        system: str,
        version: str,
        reference: Reference | None,
        clock: Clock,
        limits: Limits = Limits(),  # it is frozen
        *,
        keep: Path | None = None,
    ) -> None:
        """`version` is of the model whose reference it is. `keep` is a folder for the reference that is made of the
        first rows, or of a window that was accepted, so that a restart does not begin anew, and replicas compare with
        the same. What is kept there goes before what training left.

        Raises IntegrityError where what is kept there is damaged.
        """
        self._system, self._version = system, version
        self._clock, self._limits, self._keep = clock, limits, keep
        self._trained = reference or Reference(system, ())
        self._lock = threading.Lock()
        self._first: list[Rows] | None = []
        self._seen_ns = 0  # when the kept file that is compared with was written
        self._watch(self._trained)
        self._take_kept()

    def observe(self, rows: Rows) -> None:
        """Count rows. The call that completes the first rows makes a reference of them, which takes a second; `report`
        does not wait for it.

        Raises OSError or IntegrityError where that cannot be kept; it is compared with nevertheless.
        """
        if not len(rows):
            return
        self._take_kept()
        with self._lock:
            self._window.add(np.concatenate([[float(len(rows))], *(self._tally(one, rows) for one in self._features)]))
            first = self._completed(rows)
        if first:
            learned = self._reference_of(first)
            try:
                learned = self._kept(learned)
            finally:  # what cannot be kept can be compared with all the same
                with self._lock:
                    self._first = None
                    self._watch(learned.beside(self._trained))

    def accept(self) -> DriftReport:
        """Make what the window has the reference, of every feature of which enough is known; return what it was like.

        Raises:
            Conflict: there are too few rows, or the first ones are still being kept.
        """
        report = self.report()
        if report.learning is not None:
            raise Conflict(f"{report.learning} of the first {report.first} rows are kept for a reference; wait for it")
        if report.rows < ACCEPTED_LEAST:
            raise Conflict(f"{report.rows} rows are in the window; {ACCEPTED_LEAST} at least make a reference")
        day = self._clock.now().date().isoformat()
        with self._lock:
            total = self._window.total()
            parts = np.split(total[1:], np.cumsum([len(one.tally) for one in self._features])[:-1])
            source = f"{int(total[0]):,} rows accepted on {day}"
            accepted = Reference(
                self._system,
                tuple(
                    replace(one, tally=part, source=source) if _known(one, part) else one
                    for one, part in zip(self._features, parts, strict=True)
                ),
            )
            if self._keep is not None:
                self._keep.mkdir(parents=True, exist_ok=True)
                accepted.save(self._keep, made_for=self._version)
                self._seen_ns = (self._keep / DRIFT).stat().st_mtime_ns
            self._watch(accepted)
        return report

    def report(self) -> DriftReport:
        """Compare what the window has with the reference."""
        with self._lock:
            total, features = self._window.total(), self._features
            learning = None if self._first is None else sum(map(len, self._first))
        parts = np.split(total[1:], np.cumsum([len(one.tally) for one in features])[:-1]) if features else []
        found = [compare(one, part, least=self._limits.least) for one, part in zip(features, parts, strict=True)]
        limits = self._limits
        return DriftReport(
            self._system, self._version, limits.window_s, int(total[0]), learning, limits.first, tuple(found)
        )

    def _take_kept(self) -> None:
        """Compare with what is kept, where another process or an earlier one wrote it. Raises IntegrityError."""
        path = self._keep / DRIFT if self._keep is not None else None
        if self._keep is None or path is None or not path.is_file() or path.stat().st_mtime_ns == self._seen_ns:
            return
        with self._lock:
            self._seen_ns = path.stat().st_mtime_ns
            kept = Reference.load(self._keep, made_for=self._version)
            if kept is not None:
                self._first = None
                self._watch(kept.beside(self._trained))

    def _watch(self, reference: Reference) -> None:
        self._features: Sequence[Feature] = reference.features
        width = 1 + sum(len(one.tally) for one in self._features)
        self._window = Window(width, self._limits.window_s, self._clock)

    def _tally(self, feature: Feature, rows: Rows) -> np.ndarray:
        found = feature.of(rows)
        return np.zeros_like(feature.tally) if found is None else found

    def _completed(self, rows: Rows) -> list[Rows]:
        """Keep the first rows; return all of them once, when there are enough."""
        if self._first is None:
            return []
        before = sum(map(len, self._first))
        if before >= self._limits.first:  # another thread makes the reference
            return []
        self._first.append(rows)
        return list(self._first) if before + len(rows) >= self._limits.first else []

    def _reference_of(self, first: Sequence[Rows]) -> Reference:
        """Return the reference of the first rows, of what training gave none for."""
        rows = _joined(first)
        return reference_of(
            _without(rows, self._trained),
            system=self._system,
            source=f"the first {len(rows):,} live rows",
            least=0,
        )

    def _kept(self, found: Reference) -> Reference:
        """Keep a reference for restarts and other replicas; return theirs where they were first."""
        if self._keep is None:
            return found
        self._keep.mkdir(parents=True, exist_ok=True)
        kept = found.save_once(self._keep, made_for=self._version)
        self._seen_ns = (self._keep / DRIFT).stat().st_mtime_ns
        return kept


def _known(feature: Feature, tally: np.ndarray) -> bool:
    """Tell whether a window has enough of a feature to be its reference."""
    if isinstance(feature.distribution, Vectors):
        return feature.distribution.parts(tally)[1] >= LEAST_ROWS
    return bool(tally.sum() >= ACCEPTED_LEAST)


def _joined(batches: Sequence[Rows]) -> Rows:
    """Return batches with the same columns as one."""
    first = batches[0]
    return Rows(
        {name: np.concatenate([one.numbers[name] for one in batches]) for name in first.numbers},
        {name: [value for one in batches for value in one.categories[name]] for name in first.categories},
        {name: np.concatenate([one.vectors[name] for one in batches]) for name in first.vectors},
        {name: np.concatenate([one.scores[name] for one in batches]) for name in first.scores},
    )


def _without(rows: Rows, known: Reference) -> Rows:
    """Return the columns that a reference lacks."""
    names: set[tuple[Kind, str]] = {(one.kind, one.name) for one in known.features}
    return Rows(
        {name: column for name, column in rows.numbers.items() if ("input", name) not in names},
        {name: column for name, column in rows.categories.items() if ("input", name) not in names},
        {name: column for name, column in rows.vectors.items() if ("embedding", name) not in names},
        {name: column for name, column in rows.scores.items() if ("score", name) not in names},
    )

"""Watches whether posts and their scores are still like those that the model was trained on. For the moderator.

Watching never costs a post its scores: posts are put aside and counted dozens at a time in a thread of its own (making
a reference of the first ones takes a second), and what goes wrong here is logged, and told in place of the numbers.
"""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.clock import Clock
from core.errors import RiverlightError, Unavailable
from models.drift.compare import Comparison
from models.drift.monitor import DriftMonitor, DriftReport, Limits
from models.drift.reference import Kind, Reference
from models.moderation.drift import SYSTEM, WatchedPost, rows_of
from models.moderation.score import HarmModel
from models.registry.store import ModelRegistry
from monitoring.catalogue import (
    DRIFT_FEATURES,
    DRIFT_FIRST_ROWS,
    DRIFT_KS,
    DRIFT_MISSING,
    DRIFT_PSI,
    DRIFT_ROWS,
    DRIFT_SHIFT,
    Gauge,
)
from monitoring.recorder import Recorder

_AT_ONCE = 64  # posts counted at once: a batch of one costs as much as one of dozens
_REPORT_S = 5.0  # a report that is younger serves several gauges of a scrape

#: The reference of a model by its version, e.g. `moderation/3f2a91c0`; None where training wrote none.
FindReference = Callable[[str], Reference | None]

_log = structlog.get_logger(__name__)


def references_in(registry: ModelRegistry) -> FindReference:
    """Return what looks for references beside the registry's weights; it raises NotFound and IntegrityError."""

    def find(label: str) -> Reference | None:
        version = registry.show(*label.split("/", 1))
        return Reference.load(version.folder, made_for=version.manifest.sha256)

    return find


@dataclass(frozen=True)
class DriftStatus:
    """What is told of drift: a report, or why there is none."""

    report: DriftReport | None
    problem: str = ""


class PostDrift:
    """Counts scored posts and sets the gauges of drift. `observe` is for one event loop, the rest for any thread."""

    def __init__(
        self, find: FindReference, recorder: Recorder, clock: Clock, limits: Limits, *, keep: Path | None = None
    ) -> None:
        """`keep` is the folder under which references that are made of the first posts are kept, by model."""
        self._find, self._recorder, self._clock = find, recorder, clock
        self._limits, self._keep = limits, keep
        self._waiting: list[WatchedPost] = []
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="post-drift")
        self._monitor: DriftMonitor | None = None
        self._version = ""
        self._problem = ""
        self._tracked: set[tuple[str, str]] = set()
        self._reported: tuple[float, DriftReport | None, dict[tuple[Kind, str], Comparison]] = (-math.inf, None, {})

    def observe(self, model: HarmModel, posts: Sequence[WatchedPost]) -> None:
        """Put posts aside that `model` scored; count them once there are enough."""
        self._waiting += posts
        if len(self._waiting) < _AT_ONCE:
            return
        waiting, self._waiting = self._waiting, []
        with suppress(RuntimeError):  # it was closed meanwhile
            self._worker.submit(self._count, model, waiting)

    def close(self) -> None:
        """Count nothing any more; what is counted can still be asked for. Closing again changes nothing."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def status(self) -> DriftStatus:
        """Return the comparison of now; up to 64 posts are not counted in it yet."""
        _, report, _ = self._report()
        return DriftStatus(report, self._problem)

    def accept(self) -> DriftStatus:
        """Make the posts of the last hour the reference; return the comparison of before.

        Raises Unavailable where nothing is watched yet, Conflict where there are too few posts.
        """
        if self._monitor is None:
            raise Unavailable("too few posts were scored since the moderator started: there is nothing to accept")
        report = self._monitor.accept()
        with self._lock:
            self._reported = (-math.inf, None, {})
        _log.info("drift_accepted", version=report.version, rows=report.rows)
        return DriftStatus(report, self._problem)

    def _count(self, model: HarmModel, posts: Sequence[WatchedPost]) -> None:
        try:
            self._monitor_of(model.version).observe(
                rows_of(posts, text_dim=model.scaling.text_dim, image_dim=model.scaling.image_dim)
            )
            self._track()
        except Exception as error:  # a defect here must not take the scores from posts
            problem = f"{type(error).__name__}: {error}"
            if problem != self._problem:
                _log.exception("drift_not_watched", version=model.version)
            self._problem = problem

    def _monitor_of(self, version: str) -> DriftMonitor:
        """Return the monitor of a model; another model begins with an empty window and its own reference."""
        if self._monitor is not None and self._version == version:
            return self._monitor
        self._problem = ""
        reference = None
        try:
            reference = self._find(version)
        except RiverlightError as error:  # then the first posts are the reference, of everything
            _log.warning("drift_reference_not_loaded", version=version, error=str(error))
            self._problem = str(error)
        keep = self._keep / version.replace("/", "-") if self._keep is not None else None
        self._monitor = DriftMonitor(SYSTEM, version, reference, self._clock, self._limits, keep=keep)
        self._version = version
        _log.info("drift_watched", version=version, trained=len(reference.features) if reference is not None else 0)
        return self._monitor

    def _report(self) -> tuple[float, DriftReport | None, dict[tuple[Kind, str], Comparison]]:
        with self._lock:
            now = self._clock.monotonic()
            if now - self._reported[0] >= _REPORT_S:
                report = self._monitor.report() if self._monitor is not None else None
                found = {(one.kind, one.name): one for one in report.features} if report is not None else {}
                self._reported = (now, report, found)
            return self._reported

    def _track(self) -> None:
        """Begin to show the gauges of features that are new."""
        _, report, _ = self._report()
        if report is None:
            return
        if not self._tracked:
            self._recorder.track(DRIFT_ROWS, lambda: self._number(lambda one: one.rows), system=SYSTEM)
            self._recorder.track(DRIFT_FIRST_ROWS, lambda: self._number(lambda one: one.learning), system=SYSTEM)
            for verdict in ("same", "watch", "drift", "too-few"):
                self._recorder.track(DRIFT_FEATURES, self._counts(verdict), system=SYSTEM, verdict=verdict)
        for one in report.features:
            if (one.kind, one.name) not in self._tracked:
                self._tracked.add((one.kind, one.name))
                self._show(DRIFT_PSI, one.kind, one.name, lambda found: found.psi)
                self._show(DRIFT_MISSING, one.kind, one.name, lambda found: found.missing)
                if one.ks is not None or one.kind == "score":
                    self._show(DRIFT_KS, one.kind, one.name, lambda found: found.ks)
                if one.kind == "embedding":
                    self._show(DRIFT_SHIFT, one.kind, one.name, lambda found: found.shift)

    def _show(self, metric: Gauge, kind: Kind, name: str, read: Callable[[Comparison], float | None]) -> None:
        def value() -> float:
            found = self._report()[2].get((kind, name))  # another model may watch other features
            number = read(found) if found is not None else None
            return math.nan if number is None else number

        self._recorder.track(metric, value, system=SYSTEM, kind=kind, feature=name)

    def _number(self, read: Callable[[DriftReport], float | None]) -> float:
        report = self._report()[1]
        number = read(report) if report is not None else None
        return math.nan if number is None else number

    def _counts(self, verdict: str) -> Callable[[], float]:
        return lambda: self._number(lambda report: sum(one.verdict == verdict for one in report.features))

"""Candidate generation: what all generators propose for one viewer, each with a deadline, as one set of candidates."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from monitoring.catalogue import RECOMMENDATION_GENERATOR_SECONDS, RECOMMENDATION_GENERATORS
from monitoring.recorder import Recorder
from serving.recommendation.bounded import Bounded
from serving.recommendation.ports import Candidates, Generator, Proposal, Rows, Scores, Viewer

_log = structlog.get_logger(__name__)


class CandidateSource:
    """Asks all generators at once and leaves out those that are late, fail, or hang from before."""

    def __init__(
        self,
        generators: Iterable[Generator],
        *,
        threads: Executor,
        deadline_s: float,
        at_once: int,
        recorder: Recorder,
    ) -> None:
        """`threads` should hold `at_once` for each generator: requests that are answered at the same time."""
        self._generators = {one.name: Bounded(one.propose, threads, at_once) for one in generators}
        self._deadline_s = deadline_s
        self._recorder = recorder

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._generators)

    async def propose(self, viewer: Viewer, limit: int) -> "Proposals":
        """Return what the generators propose within the deadline, up to `limit` videos each."""
        started = time.perf_counter()
        ended: dict[str, float] = {}
        running: dict[str, Future[Proposal]] = {}
        missing: dict[str, str] = {}
        for name, generator in self._generators.items():
            future = generator.start(viewer, limit)
            if future is None:
                missing[name] = "busy"
                continue
            running[name] = future
            future.add_done_callback(lambda _, name=name: ended.setdefault(name, time.perf_counter()))  # type: ignore[misc]
        if running:
            waited = [asyncio.wrap_future(future) for future in running.values()]
            for one in waited:
                one.add_done_callback(_looked_at)  # what it raises is looked at below, or nobody waits for it any more
            await asyncio.wait(waited, timeout=self._deadline_s)
        proposed: dict[str, Proposal] = {}
        for name, future in running.items():
            if not future.done():
                missing[name] = "late"
            elif (error := future.exception()) is not None:
                missing[name] = "failed"
                _log.warning("generator_failed", generator=name, error=repr(error))
            else:
                proposed[name] = _sound(future.result(), limit)
        timings = {name: ended.get(name, time.perf_counter()) - started for name in running}
        self._count(proposed, missing, timings)
        return Proposals(proposed, missing, timings)

    def _count(
        self, proposed: Mapping[str, Proposal], missing: Mapping[str, str], timings: Mapping[str, float]
    ) -> None:
        for name in self._generators:
            outcome = missing.get(name) or ("proposed" if len(proposed[name].rows) else "nothing")
            self._recorder.count(RECOMMENDATION_GENERATORS, generator=name, outcome=outcome)
            if name in timings:
                self._recorder.observe(RECOMMENDATION_GENERATOR_SECONDS, timings[name], generator=name)


@dataclass(frozen=True)
class Proposals:
    """What each generator proposed, which ones did not answer (and how: busy, late, failed), and how long each took."""

    proposed: Mapping[str, Proposal]
    missing: Mapping[str, str]
    timings_s: Mapping[str, float]


def united(proposals: Proposals, limit: int) -> Candidates:
    """Return the union of all proposals, the best of each first; of too many, the last of each are left out.

    The first proposals of all generators come before the second ones, so a cut at `limit` takes from all alike.
    """
    names = [name for name, one in proposals.proposed.items() if len(one.rows)]
    if names:
        parts = [proposals.proposed[name].rows for name in names]
        ranks = np.concatenate([np.arange(len(part)) for part in parts])
        order = np.argsort(ranks, kind="stable")
        rows = _distinct(np.concatenate(parts)[order])[:limit]
    else:
        rows = np.zeros(0, np.int64)
    return Candidates(
        rows=rows,
        proposed={name: _placed(proposals.proposed[name], rows) for name in names},
        degraded=tuple(proposals.missing),
        timings_s=proposals.timings_s,
    )


def chosen(candidates: Candidates, places: NDArray[np.int64]) -> Candidates:
    """Return the candidates in these places (distinct), in this order."""
    new_place = np.full(len(candidates.rows), -1, np.int32)
    new_place[places] = np.arange(len(places))
    proposed = {}
    for name, (old, scores) in candidates.proposed.items():
        moved = new_place[old]
        kept = moved >= 0
        proposed[name] = moved[kept], scores[kept]
    return Candidates(candidates.rows[places], proposed, candidates.degraded, candidates.timings_s)


def with_rows(candidates: Candidates, rows: Sequence[int]) -> Candidates:
    """Return the candidates and further ones that no generator proposed."""
    more = [row for row in dict.fromkeys(rows) if row not in set(candidates.rows.tolist())]
    added = np.concatenate([candidates.rows, np.array(more, np.int64)])
    return Candidates(added, candidates.proposed, candidates.degraded, candidates.timings_s)


def _sound(proposal: Proposal, limit: int) -> Proposal:
    """Return a proposal without what no generator should have said: repeated or negative rows, scores that are none."""
    rows = np.asarray(proposal.rows, np.int64)[:limit]
    scores = np.asarray(proposal.scores, np.float32)[: len(rows)]
    kept = np.isfinite(scores) & (rows[: len(scores)] >= 0)
    if not kept.all():
        rows, scores = rows[: len(scores)][kept], scores[kept]
    _, first = np.unique(rows, return_index=True)
    if len(first) < len(rows):
        first.sort()
        rows, scores = rows[first], scores[first]
    return Proposal(rows, scores)


def _distinct(rows: Rows) -> Rows:
    """Return each row once, in the order of their first places."""
    _, first = np.unique(rows, return_index=True)
    first.sort()
    return rows[first]


def _placed(proposal: Proposal, rows: Rows) -> tuple[NDArray[np.int32], Scores]:
    """Return a proposal as places in `rows` (those that are there) and scores, in its own order."""
    if not len(rows):
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    order = np.argsort(rows, kind="stable")
    at = np.minimum(np.searchsorted(rows, proposal.rows, sorter=order), len(rows) - 1)
    places = order[at]
    there = rows[places] == proposal.rows
    return places[there].astype(np.int32), proposal.scores[there]


def _looked_at(future: "asyncio.Future[Proposal]") -> None:
    if not future.cancelled():
        future.exception()

"""Candidate generation: what all generators propose for one viewer, each with a deadline, as one set of candidates."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from monitoring.catalogue import RECOMMENDATION_GENERATOR_SECONDS, RECOMMENDATION_GENERATORS, RECOMMENDATION_SECONDS
from monitoring.recorder import Recorder
from serving.recommendation.bounded import Bounded, Busy
from serving.recommendation.ports import Candidates, Generator, Proposal, Rows, Scores, Viewer
from serving.recommendation.turns import Turns

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class CandidateSource:
    """Asks all generators, and leaves out those that are late, fail, or hang from before.

    Generators compute in Python, one at a time whatever threads they have: a thread for each made answers twice as slow
    under load. So a thread asks one after another, in its turn among the answers, and gets company as soon as one of
    them takes long: what waits for something, or computes where Python does not, is overtaken, and all that is slow
    runs at the same time. The deadline counts from the first turn.
    """

    def __init__(
        self,
        generators: Iterable[Generator],
        *,
        threads: Executor,
        deadline_s: float,
        at_once: int,
        turns: Turns,
        recorder: Recorder,
    ) -> None:
        """`threads` should hold `at_once` (requests answered at the same time) for each generator: all may hang."""
        self._generators = {one.name: Bounded(one.propose, at_once) for one in generators}
        self._threads = threads
        self._deadline_s = deadline_s
        self._turns = turns
        self._recorder = recorder

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._generators)

    async def propose(
        self, viewer: Viewer, limit: int, then: "Callable[[Proposals], Answer]"
    ) -> "asyncio.Future[Answer]":
        """Wait for what the generators propose, up to `limit` videos each, or for the deadline; return what `then`
        makes of it.

        `then` is called in a thread, at once: in that of the last generator, for one thread that hands on to another
        waits for the interpreter a second time. It keeps the turn.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        round_ = _Round(self._generators, viewer, limit, then, lambda: _tell(loop, finished), self._turns)
        self._threads.submit(round_.run)
        try:
            while not finished.done() and (left_s := self._deadline_s - round_.taken_s) > 0:
                await asyncio.wait({finished}, timeout=min(left_s, self._turns.patience_s))
                if not finished.done() and round_.is_held_up(self._turns.patience_s):
                    self._threads.submit(round_.run)
        except asyncio.CancelledError:  # nobody waits any more: what has not begun need not
            round_.end()
            raise
        if round_.end():
            self._threads.submit(round_.answer)
        self._recorder.observe(RECOMMENDATION_SECONDS, round_.waited_s, stage="turn")
        self._count(round_.found)
        return asyncio.wrap_future(round_.answered)

    def _count(self, found: "Proposals") -> None:
        for name in self._generators:
            outcome = found.missing.get(name) or ("proposed" if len(found.proposed[name].rows) else "nothing")
            self._recorder.count(RECOMMENDATION_GENERATORS, generator=name, outcome=outcome)
            if name in found.timings_s:
                self._recorder.observe(RECOMMENDATION_GENERATOR_SECONDS, found.timings_s[name], generator=name)


class _Round(Generic[Answer]):
    """One request's calls of all generators, made by one or more threads that run `run`, and what is made of them.

    `found` is there as soon as the round has ended.
    """

    found: "Proposals"

    def __init__(
        self,
        generators: "Mapping[str, Bounded[[Viewer, int], Proposal]]",
        viewer: Viewer,
        limit: int,
        then: "Callable[[Proposals], Answer]",
        when_done: Callable[[], None],
        turns: Turns,
    ) -> None:
        self._turns = turns
        self.answered: Future[Answer] = Future()
        self._generators = generators
        self._viewer, self._limit = viewer, limit
        self._then, self._when_done = then, when_done
        self._asked = time.perf_counter()
        self._started: float | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._waiting = deque(generators)
        self._running: dict[str, float] = {}  # since when
        self._proposed: dict[str, Proposal] = {}
        self._missing: dict[str, str] = {}
        self._timings_s: dict[str, float] = {}

    @property
    def waited_s(self) -> float:
        """Seconds until the first turn, or so far."""
        return (time.perf_counter() if self._started is None else self._started) - self._asked

    @property
    def taken_s(self) -> float:
        """Seconds since the first turn."""
        return 0.0 if self._started is None else time.perf_counter() - self._started

    def run(self) -> None:
        """Call the generators that still wait, one after another; where all are done, answer."""
        with self._turns.turn():
            if self._started is None:
                self._started = time.perf_counter()
            self._ask()

    def answer(self) -> None:
        """Make the answer of what was found, once the round has ended."""
        with self._turns.turn():
            self._answer()

    def _ask(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    done = not self._running
                    break
                name = self._waiting.popleft()
                started = self._running[name] = time.perf_counter()
            proposal, problem = None, ""
            try:
                proposal = _sound(self._generators[name](self._viewer, self._limit), self._limit)
            except Busy:
                problem = "busy"
            except Exception as error:  # whatever it is, the others go on
                problem = "failed"
                _log.warning("generator_failed", generator=name, error=repr(error))
            with self._lock:
                del self._running[name]
                self._timings_s[name] = time.perf_counter() - started
                if proposal is not None:
                    self._proposed[name] = proposal
                else:
                    self._missing[name] = problem
        if done and self.end():
            self._when_done()
            self._answer()

    def _answer(self) -> None:
        """Make the answer, unless nobody waits for it any more."""
        if not self.answered.set_running_or_notify_cancel():
            return
        try:
            self.answered.set_result(self._then(self.found))
        except BaseException as error:
            self.answered.set_exception(error)

    def is_held_up(self, patience_s: float) -> bool:
        """Tell whether generators wait for one that takes long. Nobody else starts a thread for the same reason."""
        now = time.perf_counter()
        with self._lock:
            return bool(self._waiting and self._running) and all(
                now - since >= patience_s for since in self._running.values()
            )

    def end(self) -> bool:
        """Keep what there is by now, and drop what comes later. Tell whether this call has ended the round."""
        now = time.perf_counter()
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            late = dict.fromkeys([*self._running, *self._waiting], "late")
            taken = self._timings_s | {name: now - since for name, since in self._running.items()}
            self._waiting.clear()
            self.found = Proposals(dict(self._proposed), self._missing | late, taken)
            return True


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
    order = np.argsort(rows, kind="stable")
    return Candidates(
        rows=rows,
        proposed={name: _placed(proposals.proposed[name], rows, order) for name in names},
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


def _placed(proposal: Proposal, rows: Rows, order: NDArray[np.int64]) -> tuple[NDArray[np.int32], Scores]:
    """Return a proposal as places in `rows` (those that are there) and scores, in its own order.

    `order` sorts the rows.
    """
    if not len(rows):
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    at = np.minimum(np.searchsorted(rows, proposal.rows, sorter=order), len(rows) - 1)
    places = order[at]
    there = rows[places] == proposal.rows
    return places[there].astype(np.int32), proposal.scores[there]


def _tell(loop: asyncio.AbstractEventLoop, finished: "asyncio.Future[None]") -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(lambda: None if finished.done() else finished.set_result(None))

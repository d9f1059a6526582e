"""The recommender: a viewer in, the videos of their homepage out, with a trace of how the answer came about."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np

from core.clock import Clock
from core.errors import InvalidInput, NotFound, Unavailable
from core.ids import new_trace_id
from core.settings import RecommendationSettings
from monitoring.catalogue import (
    EXPLORATION_PROMISES,
    RECOMMENDATION_REMOVED,
    RECOMMENDATION_RESULTS,
    RECOMMENDATION_SECONDS,
    RECOMMENDATION_SHOWN,
    RECOMMENDATIONS,
)
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.recommendation.answering import Considered, consider, seconds
from serving.recommendation.candidates import Proposals
from serving.recommendation.engine import Engine, MakeGenerators, MakeRanker, Parts, make_engine
from serving.recommendation.exploration import PromisesReport
from serving.recommendation.feature_log import is_logged, logged
from serving.recommendation.generators import all_generators
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Viewer
from serving.recommendation.reranking import Fate, Place, RerankRules
from serving.recommendation.scoring import BLEND
from serving.recommendation.served_state import ServedState
from serving.recommendation.turns import Turns
from serving.recommendation.verdicts import SYSTEM, Verdict, generators_of, payload, verdicts
from serving.recommendation.videos import Videos
from serving.recommendation.why import Reason, because, fate_now
from serving.traces import TraceStore
from storage.catalogue import TraceRecord

_OVERTAKEN_AFTER = 4  # a generator that waits for a quarter of its deadline holds up nobody any longer
_GENERATORS = 24  # for which there are threads: those of a trained model, those of the live state, exploration

Told = TypeVar("Told")


@dataclass(frozen=True)
class RecommendQuery:
    """Who asks for what. What is said of country, language and device counts before what the profile says."""

    user_id: str
    k: int | None = None
    country: str | None = None  # ISO 3166-1 alpha-2
    language: str | None = None  # BCP 47
    device: str | None = None


class Recommended(msgspec.Struct, frozen=True, gc=False):
    """One video of an answer."""

    item_id: str
    score: float
    title: str
    creator_id: str
    category: str
    language: str
    duration_s: float | None
    created_at: datetime
    generators: list[str]
    place: str
    because: str


@dataclass(frozen=True)
class Recommendation:
    """The answer, best first. `degraded` names the generators (or `ranker`) that it had to do without."""

    trace_id: str
    viewer: Viewer
    results: list[Recommended]
    scored_by: str
    degraded: tuple[str, ...]
    note: str | None  # what there is to say about an answer that is short
    considered: Considered | None
    engine: Engine

    def verdicts(self) -> list[Verdict]:
        """Return every candidate and what became of it, the answer first."""
        return verdicts(self.engine.state.videos, self.considered) if self.considered is not None else []


class Recommender:
    """Answers from the live state. Safe for concurrent use; `close` ends its threads."""

    def __init__(
        self,
        *,
        served: ServedState,
        ready: Callable[[], tuple[bool, str]],
        traces: TraceStore,
        settings: RecommendationSettings,
        recorder: Recorder,
        clock: Clock,
        at_once: int = 16,
        make_generators: MakeGenerators = all_generators,
        make_ranker: MakeRanker = lambda state: None,
        trained: Callable[[LiveState], Parts | None] = lambda state: None,
        feature_log_share: float = 0.0,
    ) -> None:
        """`ready` says whether the state holds what the log holds; answers wait for that, for they could show again
        what was seen.

        Args:
            at_once: requests answered at the same time.
            trained: what a trained model adds over a state now. Asked for each answer, so it only looks.
            feature_log_share: share of answers whose trace also keeps what models see of the viewer.
        """
        self._served = served
        self._feature_log_share = feature_log_share
        self._ready = ready
        self._traces = traces
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._generator_threads = ThreadPoolExecutor(_GENERATORS * at_once, thread_name_prefix="generator")
        self._ranker_threads = ThreadPoolExecutor(at_once, thread_name_prefix="ranker")
        self._turns = Turns(settings.generator_deadline_s / _OVERTAKEN_AFTER, settings.generator_deadline_s)
        self._make = partial(
            make_engine,
            settings=settings,
            recorder=recorder,
            clock=clock,
            generator_threads=self._generator_threads,
            ranker_threads=self._ranker_threads,
            at_once=at_once,
            turns=self._turns,
            make_generators=make_generators,
            make_ranker=make_ranker,
        )
        self._trained = trained
        self._engine: Engine | None = None
        for state in ("open", "kept", "broken"):
            recorder.track(EXPLORATION_PROMISES, partial(self._promises, state), state=state)

    async def recommend(self, query: RecommendQuery, exchange: Exchange) -> Recommendation:
        """Answer one query and record its trace.

        Raises:
            InvalidInput: `k` over the limit.
            Unavailable: the log has not been read to its end yet.
        """
        k = self._settings.default_k if query.k is None else query.k
        if k > self._settings.max_k:
            raise InvalidInput(f"k is {k}; at most {self._settings.max_k} videos can be asked for")
        trace_id = await self._own_trace_id(exchange)
        answer, told = await self._answer(query, k, trace_id, exchange, partial(self._trace, query, k))
        self._observe(answer, exchange)
        stages_ms = {name: round(taken_s * 1000, 3) for name, taken_s in exchange.stages_s.items()}
        self._traces.record(TraceRecord(trace_id, SYSTEM, answer.viewer.now, told | {"stages_ms": stages_ms}))
        return answer

    async def why_not(self, query: RecommendQuery, item_id: str, exchange: Exchange) -> Reason:
        """Say why a video is, or is not, in the answer that the viewer would get now. Nothing is recorded.

        A video that no generator proposed is scored and ranked as if one had, to say where it would have come.

        Raises:
            NotFound: no such video is known.
            InvalidInput, Unavailable: as `recommend`.
        """
        state = self._current().state
        row = state.videos.row_of(item_id)
        if row is None:
            raise NotFound(f"no video {item_id!r} is known to the recommender")
        k = self._settings.default_k if query.k is None else query.k
        answer, _ = await self._answer(query, k, exchange.trace_id, exchange, lambda answer: None, also=(row,))
        return fate_now(answer.verdicts(), item_id, k, state.videos.restriction(row))

    @property
    def videos(self) -> Videos:
        """All videos as they are now."""
        return self._served.current.videos

    def promises(self) -> PromisesReport:
        """Return how many promises of impressions were kept, broken, and are open."""
        return self._current().ledger.report()

    def close(self) -> None:
        """End the threads; what hangs in them is left behind."""
        for threads in (self._generator_threads, self._ranker_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self,
        query: RecommendQuery,
        k: int,
        trace_id: str,
        exchange: Exchange,
        tell: Callable[[Recommendation], Told],
        also: Sequence[int] = (),
    ) -> tuple[Recommendation, Told]:
        """Answer, and return what `tell` makes of the answer, too: in the answer's turn, off the event loop."""
        ready, problem = self._ready()
        if not ready:
            raise Unavailable(f"recommendations are not ready: {problem}", retry_after_s=5)
        engine = self._current()
        with exchange.stage("viewer"):
            viewer = engine.state.audience.viewer(
                query.user_id, self._clock.now(), query.device, query.country, query.language
            )
        if not engine.state.videos.rows:
            nothing = Recommendation(trace_id, viewer, [], BLEND, (), "there are no videos yet", None, engine)
            return nothing, tell(nothing)

        def answered(proposals: Proposals) -> tuple[Recommendation, Told]:
            considered = consider(
                engine,
                viewer,
                proposals,
                self._rules(k),
                self._settings,
                seed=_seed(trace_id),
                exchange=exchange,
                also=also,
            )
            answer = _recommendation(trace_id, viewer, k, considered, engine)
            return answer, tell(answer)

        context = contextvars.copy_context()  # in a thread, spans find their parent by it
        with exchange.stage("candidates"):
            answering = await engine.source.propose(
                viewer, self._settings.per_generator, lambda proposals: context.run(answered, proposals)
            )
        return await answering

    def _trace(self, query: RecommendQuery, k: int, answer: Recommendation) -> dict[str, Any]:
        """Return what the answer's trace tells, but for the time it took."""
        seed = _seed(answer.trace_id)
        return payload(
            answer.engine.state.videos,
            answer.viewer,
            answer.considered,
            rules=self._rules(k),
            asked={"k": k, "country": query.country, "language": query.language, "device": query.device},
            scored_by=answer.scored_by,
            degraded=answer.degraded,
            seed=seed,
        ) | self._features(answer, seed)

    def _current(self) -> Engine:
        state, engine = self._served.current, self._engine
        parts = self._trained(state)
        if engine is None or engine.state is not state:
            engine = self._engine = self._make(state, parts=parts)
        elif engine.parts is not parts:
            engine = self._engine = self._make(state, parts=parts, before=engine)
        return engine

    def _rules(self, k: int) -> RerankRules:
        settings = self._settings
        return RerankRules(
            k=k,
            diversity=settings.diversity,
            near_duplicate_score=settings.near_duplicate_score,
            per_creator=settings.per_creator,
            small_creator_share=settings.small_creator_share,
            exploration_share=settings.exploration_share,
            temperature=settings.temperature,
        )

    async def _own_trace_id(self, exchange: Exchange) -> str:
        """Return the request's trace id, or a new one where a caller's trace already names another answer."""
        if exchange.continued and await asyncio.to_thread(self._traces.get, exchange.trace_id) is not None:
            exchange.trace_id = new_trace_id()
        return exchange.trace_id

    def _features(self, answer: Recommendation, seed: int) -> dict[str, Any]:
        if not is_logged(seed, self._feature_log_share):
            return {}
        return {"features": logged(answer.viewer, answer.engine.state.videos)}

    def _promises(self, state: str) -> float:
        return float(getattr(self.promises(), state)) if self._ready()[0] else 0.0

    def _observe(self, answer: Recommendation, exchange: Exchange) -> None:
        recorder = self._recorder
        for stage, taken_s in exchange.stages_s.items():
            recorder.observe(RECOMMENDATION_SECONDS, taken_s, stage=stage)
        recorder.count(
            RECOMMENDATIONS,
            viewer="known" if answer.viewer.known else "new",
            scored_by="blend" if answer.scored_by == BLEND else "ranker",
            degraded="yes" if answer.degraded else "no",
        )
        recorder.observe(RECOMMENDATION_RESULTS, len(answer.results))
        for place, number in Counter(one.place for one in answer.results).items():
            recorder.count(RECOMMENDATION_SHOWN, number, place=place)
        if answer.considered is not None:
            numbers = np.bincount(answer.considered.fates, minlength=len(Fate))
            for fate in Fate:
                if numbers[fate] and fate is not Fate.answered:
                    recorder.count(RECOMMENDATION_REMOVED, float(numbers[fate]), reason=fate.word)


def _recommendation(trace_id: str, viewer: Viewer, k: int, considered: Considered, engine: Engine) -> Recommendation:
    missing = considered.scored.ranker_missing
    return Recommendation(
        trace_id=trace_id,
        viewer=viewer,
        results=_results(engine.state, considered),
        scored_by=considered.scored.scored_by,
        degraded=(*considered.candidates.degraded, *(("ranker",) if missing is not None else ())),
        note=_note(k, considered),
        considered=considered,
        engine=engine,
    )


def _results(state: LiveState, considered: Considered) -> list[Recommended]:
    videos, reranked = state.videos, considered.reranked
    proposed_by = generators_of(considered.candidates, reranked.chosen.tolist())
    results = []
    for place, kind in zip(reranked.chosen.tolist(), reranked.places.tolist(), strict=True):
        row = int(considered.candidates.rows[place])
        generators = proposed_by[place]
        results.append(
            Recommended(
                item_id=videos.item_id(row),
                score=float(considered.scored.scores[place]),
                title=videos.title(row),
                creator_id=videos.creator_id(row),
                category=videos.categories.name(int(videos.category[row])),
                language=videos.languages.name(int(videos.language[row])),
                duration_s=seconds(videos.duration_s[row]),
                created_at=datetime.fromtimestamp(float(videos.created_s[row]), UTC),
                generators=generators,
                place=Place(kind).name.replace("_", "-"),
                because=because(generators, Place(kind)),
            )
        )
    return results


def _note(k: int, considered: Considered) -> str | None:
    found = len(considered.reranked.chosen)
    if found >= k:
        return None
    if not found:
        return "nothing is left to recommend: what was proposed was seen, or may not be shown here"
    return f"only {found} videos are left to recommend"


def _seed(trace_id: str) -> int:
    """Return the seed of an answer's choices of chance: the trace tells how to make them again."""
    return int(trace_id[:16], 16)

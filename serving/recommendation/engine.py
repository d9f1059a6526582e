"""All that is made for one live state to answer from it; another state gets another engine."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from core.clock import Clock
from core.settings import RecommendationSettings
from monitoring.recorder import Recorder
from serving.recommendation.candidates import CandidateSource
from serving.recommendation.exploration import ExplorationLedger
from serving.recommendation.exposure import CreatorExposure
from serving.recommendation.generators import all_generators
from serving.recommendation.live_state import LiveState
from serving.recommendation.ports import Generator, Ranker
from serving.recommendation.scoring import Scorer
from serving.recommendation.turns import Turns

MakeGenerators = Callable[[LiveState], Iterable[Generator]]
MakeRanker = Callable[[LiveState], Ranker | None]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a trained model adds over one state."""

    version: str
    generators: tuple[Generator, ...]
    ranker: Ranker | None


@dataclass(frozen=True, eq=False)
class Engine:
    """Generators, scorer, ledger and exposure over one state."""

    state: LiveState
    parts: Parts | None
    source: CandidateSource
    scorer: Scorer
    ledger: ExplorationLedger
    exposure: CreatorExposure


def make_engine(
    state: LiveState,
    settings: RecommendationSettings,
    *,
    recorder: Recorder,
    clock: Clock,
    generator_threads: Executor,
    ranker_threads: Executor,
    at_once: int,
    turns: Turns,
    make_generators: MakeGenerators = all_generators,
    make_ranker: MakeRanker = lambda state: None,
    parts: Parts | None = None,
    before: Engine | None = None,
) -> Engine:
    """Return an engine over a state, for at most `at_once` answers at a time.

    Args:
        turns: of answers that are computed.
        parts: a trained model's: its generators are asked before the others, and its ranker is the one.
        before: an engine over the same state, whose ledger and exposure are kept.
    """
    trained = parts.generators if parts is not None else ()
    ranker = parts.ranker if parts is not None else None
    if before is not None:
        ledger, exposure = before.ledger, before.exposure
    else:
        ledger = ExplorationLedger(
            state, impressions=settings.promised_impressions, hours=settings.promise_hours, clock=clock
        )
        exposure = CreatorExposure(state, clock)
    return Engine(
        state=state,
        parts=parts,
        source=CandidateSource(
            (*trained, *make_generators(state), ledger),
            threads=generator_threads,
            deadline_s=settings.generator_deadline_s,
            at_once=at_once,
            turns=turns,
            recorder=recorder,
        ),
        scorer=Scorer(
            state.videos,
            settings,
            recorder=recorder,
            threads=ranker_threads,
            at_once=at_once,
            ranker=ranker or make_ranker(state),
        ),
        ledger=ledger,
        exposure=exposure,
    )

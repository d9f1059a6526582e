"""The recommender and what feeds it, opened together in a gateway replica."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from core.clock import Clock
from core.settings import RecommendationSettings
from models.registry.store import ModelRegistry
from monitoring.recorder import Recorder
from serving.following.topic_log import TopicLog
from serving.recommendation.engine import MakeGenerators, MakeRanker
from serving.recommendation.follower import LiveFollower
from serving.recommendation.generators import all_generators
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.recommend import Recommender
from serving.recommendation.served_state import ServedState
from serving.recommendation.trained.served import ServedSystem
from serving.restrictions.served import Restrictions
from serving.traces import TraceStore
from storage.catalogue import Catalogue

PATIENCE_S = 60.0

Ready = Callable[[], tuple[bool, str]]


class RunningRecommender:
    """A recommender, its follower, which begins to read when `start` is told so, and the trained model if any."""

    def __init__(self, recommender: Recommender, follower: LiveFollower, model: ServedSystem | None = None) -> None:
        self.recommender = recommender
        self.follower = follower
        self.model = model
        self._closing = threading.Event()
        self._starter: threading.Thread | None = None

    def start(self, *, after: Callable[[], bool] = lambda: True) -> None:
        """Begin to follow once `after` says so, at the latest after `PATIENCE_S`.

        Reading a long log takes the processor that others need to become ready; recommendations can wait for them.
        """
        self._starter = threading.Thread(target=self._start, args=(after,), name="recommendation-starter", daemon=True)
        self._starter.start()

    def close(self) -> None:
        """Stop answering and following."""
        self._closing.set()
        if self._starter is not None:
            self._starter.join(timeout=10)
        self.recommender.close()
        if self.model is not None:
            self.model.close()
        self.follower.close()

    def _start(self, after: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not after() and time.monotonic() < deadline:
            if self._closing.wait(0.1):
                return
        if not self._closing.is_set():
            if self.model is not None:
                self.model.start()
            self.follower.start()


def open_recommender(
    settings: RecommendationSettings,
    logs: Mapping[str, TopicLog],
    *,
    folder: Path,
    traces: TraceStore,
    recorder: Recorder,
    clock: Clock,
    at_once: int,
    restrictions: Restrictions,
    max_future_s: float = 300.0,
    registry: ModelRegistry | None = None,
    catalogue: Catalogue | None = None,
    feature_log_share: float = 0.0,
    make_generators: MakeGenerators = all_generators,
    make_ranker: MakeRanker = lambda state: None,
    on_caught_up: Callable[[], None] = lambda: None,
) -> RunningRecommender:
    """Return a recommender over the live state of `logs`; nothing is read before its `start`.

    Args:
        folder: where snapshots of the state are kept.
        at_once: requests answered at the same time.
        restrictions: what verdicts take down and lower. Nothing is answered before all of them are known.
        max_future_s: an event further in the future is not applied.
        registry: where the trained model of `settings.model` is; none is served without it.
        catalogue: tells the videos that are older than the log; without it, there are those of the log.
        feature_log_share: share of answers whose trace also keeps what models see of the viewer.
        make_generators: makes the candidate generators over a state, again for each state or model that is served.
        make_ranker: makes the ranker over a state; None where there is none.
        on_caught_up: called when a state holds what the log held, before answers are made from it.
    """
    make_state = partial(state_of, settings, restrictions)
    served = ServedState(make_state())
    follower = LiveFollower(
        served=served,
        logs=logs,
        make_state=make_state,
        folder=folder,
        recorder=recorder,
        clock=clock,
        snapshot_interval_s=settings.snapshot_interval_s,
        snapshots_kept=settings.snapshots_kept,
        max_future_s=max_future_s,
        catalogue=catalogue,
        on_caught_up=on_caught_up,
    )
    model = None
    if registry is not None and settings.model:
        model = ServedSystem(
            registry,
            settings.model,
            served,
            check_s=settings.model_check_s,
            scored_whole=settings.scored_whole,
            live_names=[one.name for one in make_generators(served.current)],
            recorder=recorder,
            clock=clock,
        )
    recommender = Recommender(
        served=served,
        ready=partial(_all_ready, (restrictions.ready, follower.ready, *((model.ready,) if model is not None else ()))),
        traces=traces,
        settings=settings,
        recorder=recorder,
        clock=clock,
        feature_log_share=feature_log_share,
        at_once=at_once,
        make_generators=make_generators,
        make_ranker=make_ranker,
        trained=model.parts if model is not None else lambda state: None,
    )
    return RunningRecommender(recommender, follower, model)


def _all_ready(parts: Sequence[Ready]) -> tuple[bool, str]:
    return next((said for part in parts if not (said := part())[0]), (True, ""))


def state_of(settings: RecommendationSettings, restrictions: Restrictions | None = None) -> LiveState:
    """Return an empty live state of the sizes and half-lives that are configured."""
    return empty_state(
        max_users=settings.max_users,
        max_seen=settings.max_seen,
        long_half_life_s=settings.popularity_half_life_h * 3600,
        short_half_life_s=settings.trending_half_life_h * 3600,
        promised_impressions=settings.promised_impressions,
        restrictions=restrictions,
    )

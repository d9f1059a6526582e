"""What the gateway works with: one dataclass of opened collaborators, and how they are opened in a replica."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import structlog
from fastapi import Request

from core.access.roles import Principal
from core.clock import Clock, SystemClock
from core.errors import ConfigurationError
from core.moderation import Moderator
from core.ports import EmbeddingService, ObjectStore, Publisher, VectorIndex
from core.settings import (
    AuthSettings,
    HttpSettings,
    RecommendationSettings,
    SearchSettings,
    ServingSettings,
    Settings,
    StreamSettings,
)
from core.topics import INDEX_ENTRIES, VERDICTS
from features.reader import FeatureReader
from models.index import LiveIndex, RecallSampler
from models.media.decoder import MediaDecoder
from models.moderation.policy import PolicyFile
from models.registry.packaged import open_registry
from monitoring.catalogue import LIVE_RECALL
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, Tracer
from serving.access import Door, open_door
from serving.collector import Collector
from serving.exchange import Exchange
from serving.follower import IndexFollower
from serving.following.topic_log import KafkaLogs
from serving.garbage import spare_what_lives
from serving.gateway.jobs import Jobs
from serving.gateway.rates import RateLimiter
from serving.late_features import LateFeatures
from serving.moderation.desk import ModerationDesk
from serving.recommendation.opening import RunningRecommender, open_recommender
from serving.recommendation.topic_log import followed
from serving.restrictions.follower import RestrictionsFollower
from serving.restrictions.served import Restrictions
from serving.served_index import ServedIndex
from serving.thumbnails import Thumbnails
from serving.traces import TraceStore
from serving.visual_search import VisualSearch
from storage.catalogue import Catalogue
from storage.log.producer import KafkaPublisher
from storage.moderation import ModerationStore
from storage.objects import open_object_store

_log = structlog.get_logger(__name__)


@dataclass
class GatewayDeps:
    """Everything a route may use. Whoever made it closes it; the services at the end are made from the rest."""

    http: HttpSettings
    auth: AuthSettings
    streams: StreamSettings
    search_settings: SearchSettings
    serving: ServingSettings
    publisher: Publisher
    catalogue: Catalogue
    objects: ObjectStore
    decoder: MediaDecoder
    embedding: EmbeddingService
    index: ServedIndex
    follower: IndexFollower
    restrictions: Restrictions
    restrictions_follower: RestrictionsFollower
    features: FeatureReader | LateFeatures
    traces: TraceStore
    recorder: Recorder
    clock: Clock
    door: Door
    rates: RateLimiter | None
    tracer: Tracer = NO_TRACING
    recommendation: RunningRecommender | None = None
    recommendation_settings: RecommendationSettings = field(default_factory=RecommendationSettings)
    moderation: ModerationDesk | None = None
    logs: KafkaLogs | None = None
    jobs: Jobs = field(default_factory=Jobs)
    collector: Collector = field(init=False)
    visual_search: VisualSearch = field(init=False)
    thumbnails: Thumbnails = field(init=False)

    def __post_init__(self) -> None:
        self.collector = Collector(
            publisher=self.publisher,
            outbox=self.catalogue,
            objects=self.objects,
            clock=self.clock,
            max_events=self.http.max_events_per_call,
            max_future_s=self.streams.max_future_s,
        )
        self._sampler = RecallSampler(
            cast(VectorIndex, self.index),  # it only searches
            self.index.current.settings.recall_sample_ratio,
            lambda recall, _k: self.recorder.observe(LIVE_RECALL, recall, index="visual"),
        )
        self.visual_search = VisualSearch(
            embedding=self.embedding,
            index=self.index,
            restrictions=self.restrictions,
            traces=self.traces,
            settings=self.search_settings,
            recorder=self.recorder,
            clock=self.clock,
            embed_timeout_s=self.http.request_timeout_s * 0.8,  # leaves time to say what went wrong
            sampler=self._sampler,
        )
        self.thumbnails = Thumbnails(self.objects, self.decoder)

    def ready(self) -> tuple[bool, str]:
        """Tell whether searches can be answered, and if not, why."""
        ready, why = self.follower.ready()
        return self.restrictions.ready() if ready else (ready, why)

    async def close(self) -> None:
        """Close what `open_gateway` opened, in the reverse order. The embedding service belongs to the caller."""
        if self.recommendation is not None:
            await asyncio.to_thread(self.recommendation.close)
        await asyncio.to_thread(self.follower.close)
        await asyncio.to_thread(self.restrictions_follower.close)
        if self.logs is not None:
            await asyncio.to_thread(self.logs.close)
        await asyncio.to_thread(self._sampler.close)
        self.index.current.close()
        await asyncio.to_thread(self.traces.close)
        if isinstance(self.publisher, KafkaPublisher):
            await asyncio.to_thread(self.publisher.close)
        await asyncio.to_thread(self.decoder.close)
        self.features.close()
        self.catalogue.close()
        self.tracer.close()


# FastAPI runs a dependency that is not a coroutine in a thread: two changes of thread for an attribute.
async def deps_of(request: Request) -> GatewayDeps:
    """Return the collaborators of this application (a FastAPI dependency)."""
    deps: GatewayDeps = request.app.state.deps
    return deps


async def exchange_of(request: Request) -> Exchange:
    """Return the exchange that the middleware made for this request (a FastAPI dependency)."""
    exchange: Exchange = request.state.exchange
    return exchange


async def caller_of(request: Request) -> Principal:
    """Return who calls, as the entrance found out (a FastAPI dependency)."""
    caller: Principal = request.state.caller
    return caller


def open_gateway(
    settings: Settings,
    embedding: EmbeddingService,
    *,
    dim: int,
    model_version: str,
    moderator: Moderator | None = None,
    tracer: Tracer = NO_TRACING,
) -> GatewayDeps:
    """Open everything the gateway needs, and begin to follow the log. What it returns closes the tracer, too.

    Args:
        dim: of the encoder that `embedding` reaches, as is `model_version`: the index holds its vectors only.
        moderator: scores posts for harm. Without one, or with `moderation.enabled` false, nothing is moderated here.

    Raises:
        ConfigurationError: no broker is named, the keys to verify tokens with are missing, or the policy is not valid.
        Unavailable: a store does not answer.
    """
    if settings.broker.bootstrap is None:
        raise ConfigurationError("broker.bootstrap is not set: start the system with `riverlight up`, or name a broker")
    clock = SystemClock()
    recorder = Recorder(process_metrics=True)
    door = open_door(settings, clock)
    (_log.warning if door.is_open else _log.info)("access", mode=settings.auth.mode, host=settings.http.host)
    limited = settings.rates.enabled if settings.rates.enabled is not None else not door.is_open
    policy = PolicyFile(settings.moderation.policy) if settings.moderation.enabled else None
    home: Path = settings.home.resolve()
    decoder = MediaDecoder(settings.media)
    decoder.start()
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    moderation = None
    if policy is not None and moderator is not None:
        store = ModerationStore(catalogue.database, clock)
        moderation = ModerationDesk(store, moderator, policy, settings.moderation, clock)
    logs = KafkaLogs(settings.broker.bootstrap)
    served = ServedIndex(LiveIndex(dim, model_version, settings.index))
    follower = IndexFollower(
        served=served,
        log=logs.topic(INDEX_ENTRIES.name),
        folder=home / "index" / "visual",
        settings=settings.index,
        recorder=recorder,
        clock=clock,
        tracer=tracer,
        on_caught_up=spare_what_lives,
    )
    follower.start()
    restrictions = Restrictions()
    restrictions_follower = RestrictionsFollower(
        served=restrictions,
        log=logs.topic(VERDICTS.name),
        recorder=recorder,
        clock=clock,
    )
    restrictions_follower.start()
    traces = TraceStore(catalogue)
    traces.start()
    recommendation = None
    if settings.recommendation.enabled:
        recommendation = open_recommender(
            settings.recommendation,
            followed(logs),
            folder=home / "recommendation",
            traces=traces,
            recorder=recorder,
            clock=clock,
            at_once=settings.serving.max_ongoing_requests,
            max_future_s=settings.streams.max_future_s,
            feature_log_share=settings.learning.feature_log_share,
            registry=open_registry(home, clock=clock),
            catalogue=catalogue,
            restrictions=restrictions,
            on_caught_up=spare_what_lives,
        )
        recommendation.start(after=lambda: follower.ready()[0])
    return GatewayDeps(
        http=settings.http,
        auth=settings.auth,
        streams=settings.streams,
        search_settings=settings.search,
        serving=settings.serving,
        publisher=KafkaPublisher(settings.broker.bootstrap, settings.producer, client_id="riverlight-gateway"),
        catalogue=catalogue,
        objects=open_object_store(settings.objects_url),
        decoder=decoder,
        embedding=embedding,
        index=served,
        follower=follower,
        restrictions=restrictions,
        restrictions_follower=restrictions_follower,
        features=LateFeatures(
            lambda: FeatureReader.open(home, settings.features, clock), after=lambda: follower.ready()[0]
        ),
        traces=traces,
        recorder=recorder,
        clock=clock,
        door=door,
        rates=RateLimiter(settings.rates, recorder) if limited else None,
        tracer=tracer,
        recommendation=recommendation,
        recommendation_settings=settings.recommendation,
        moderation=moderation,
        logs=logs,
    )

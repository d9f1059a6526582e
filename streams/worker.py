"""The worker process: opens what its agents need, runs one Faust app for each, watches progress, stops cleanly."""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import faust
import structlog

from core import topics
from core.access.credentials import credentials
from core.access.roles import Role
from core.clock import SystemClock
from core.errors import ConfigurationError, RiverlightError, Unavailable
from core.release import release
from core.settings import Settings
from monitoring import catalogue as metrics
from monitoring.exposition import MetricsServer, serve_metrics
from monitoring.logs import configure_logs, trace_headers
from monitoring.recorder import Recorder
from monitoring.tracing import open_tracer
from storage.log.admin import topic_epoch, wait_for_broker
from storage.log.observer import LogObserver, Observation
from storage.log.producer import KafkaPublisher
from streams import agents as all_agents
from streams.agent import EXIT_RESTART, Pump
from streams.app import create_app, group_id
from streams.dependencies import StreamDeps
from streams.housekeeping import Housekeeping
from streams.outbox_relay import OutboxRelay
from streams.progress import Snapshot, Watchdog

if TYPE_CHECKING:
    from features.online import OnlineStore

START_TIMEOUT_S = 30.0
DRAIN_S = 5.0  # for the batch in hand at a stop
STOP_S = 4.0  # for everything after it
TICK_STALE_S = 5.0
MODERATE_UPLOADS = "moderate-uploads"
MODERATION = frozenset({"moderate-posts", MODERATE_UPLOADS, "post-reactions", "author-profiles"})
MODERATION_FEATURES = "moderation-features"
_OF_MODERATION = MODERATION | {"moderation-features"}

_log = structlog.get_logger("streams.worker")


def run_worker(settings: Settings, agents: Sequence[str], metrics_port: int, name: str) -> None:
    """Run agents in this process until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: unknown agents, or settings they cannot work with.
        SystemExit: with 75 when only a new process can go on (the supervisor starts one).
    """
    all_agents.check_names(tuple(agents))
    configure_logs(f"worker-{name}", settings.monitoring.log_level, settings.monitoring.log_format)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # its warnings repeat twenty times a second in an outage
    logging.getLogger("feast").setLevel(logging.WARNING)
    worker = Worker(settings, wanted_agents(agents, settings), metrics_port, name)
    why = asyncio.run(worker.run())
    if why:
        _log.critical("ending, to be started again", reason=why)
        raise SystemExit(EXIT_RESTART)


def wanted_agents(agents: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return the agents that run with these settings: where moderation is off, its agents wait for nothing.

    Manifests name them all. A worker that is left without any is ready, and does nothing.
    """
    off = frozenset[str]() if settings.moderation.uploads else frozenset({MODERATE_UPLOADS})
    if not settings.moderation.enabled:
        off = _OF_MODERATION
    left_out = [name for name in agents if name in off]
    if left_out:
        _log.info("moderation is off, or that of uploads", agents_left_out=left_out)
    return tuple(name for name in agents if name not in off)


class Worker:
    """One process's agents and their surroundings."""

    def __init__(self, settings: Settings, agents: Sequence[str], metrics_port: int, name: str) -> None:
        self.name = name
        self.recorder = Recorder(process_metrics=True)
        self._settings = settings
        self._agents = tuple(agents)
        self._metrics_port = metrics_port
        self._units: list[_Unit] = []
        self._unready = "starting"
        self._tick = time.monotonic()
        self._fatal = ""
        self._stop = asyncio.Event()

    async def run(self) -> str:
        """Run until stopped; return why the process must be started again, or an empty text."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        host = self._settings.monitoring.host
        server = serve_metrics(self.recorder, host, self._metrics_port, live=self._live, ready=self._ready)
        _log.info("metrics", url=f"http://{host}:{server.port}/metrics")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(_close_server, server)
            try:
                deps = await self.open(stack)
            except Unavailable as error:
                return f"cannot start: {error}"
            await self._start(deps)
            tasks = [asyncio.create_task(task()) for task in deps.background]
            tasks += [asyncio.create_task(self._ticking()), asyncio.create_task(self._watching())]
            for task in tasks:
                task.add_done_callback(self._task_ended)
            gc.collect()
            gc.freeze()  # what is loaded now stays; later collections need not look at it
            _log.info("ready", agents=list(self._agents))
            await self._stop.wait()
            await self._shut_down(tasks)
        return self._fatal

    # --- start and stop ----------------------------------------------------------------------------------------

    async def open(self, stack: contextlib.AsyncExitStack) -> StreamDeps:
        """Open what the agents need; `stack` closes it. Raises Unavailable while something cannot be reached."""
        settings = self._settings
        bootstrap = settings.broker.bootstrap
        if not bootstrap:
            raise ConfigurationError("broker.bootstrap is not set: start the system with `riverlight up`, or set it")
        await asyncio.to_thread(wait_for_broker, bootstrap, START_TIMEOUT_S)
        publisher = KafkaPublisher(bootstrap, settings.producer, client_id=f"worker-{self.name}")
        stack.push_async_callback(asyncio.to_thread, publisher.close)
        clock = SystemClock()
        tracer = open_tracer(settings.tracing, f"worker-{self.name}", settings.home.resolve(), version=release())
        stack.push_async_callback(asyncio.to_thread, tracer.close)
        deps = StreamDeps(settings, publisher, self.recorder, clock, code_version=release(), tracer=tracer)
        for topic in topics.ARCHIVED:
            deps.epochs[topic.name] = await asyncio.to_thread(topic_epoch, bootstrap, topic.name)
        if {"index-upload", "recommendation-outcomes", MODERATION_FEATURES, *MODERATION} & set(self._agents):
            from storage.catalogue import Catalogue

            catalogue = await asyncio.to_thread(Catalogue.open, settings.catalogue_url, settings.catalogue)
            stack.push_async_callback(asyncio.to_thread, catalogue.close)
            deps.catalogue = catalogue
        if "index-upload" in self._agents:
            from models.embedding_service import HttpEmbeddingService

            ours = credentials(settings, clock, subject=f"worker-{self.name}", roles=(Role.service,))
            embeddings = HttpEmbeddingService(
                settings.api_url, credentials=lambda: {**ours(), **trace_headers(), **tracer.headers()}
            )
            stack.push_async_callback(embeddings.aclose)
            deps.embeddings = embeddings
            deps.background.append(
                Housekeeping(catalogue, self.recorder, clock, settings.catalogue, settings.features).run
            )
        if {"index-upload", *MODERATION} & set(self._agents):
            deps.background.append(OutboxRelay(catalogue, publisher, self.recorder, settings.streams).run)
        if {MODERATION_FEATURES, *MODERATION} & set(self._agents):
            from storage.moderation.totals import TotalsReader
            from streams.moderation.feed import FeatureFeed

            deps.feed = FeatureFeed(TotalsReader(catalogue.database, clock), publisher)
        if MODERATION_FEATURES in self._agents:
            deps.online = partial(_open_online, settings)
        if MODERATION & set(self._agents):
            from models.moderation_service import HttpModerator
            from streams.moderation.opening import open_moderation

            ours = credentials(settings, clock, subject=f"worker-{self.name}", roles=(Role.service,))
            moderator = HttpModerator(
                settings.api_url, credentials=lambda: {**ours(), **trace_headers(), **tracer.headers()}
            )
            stack.push_async_callback(moderator.aclose)
            deps.moderation = await asyncio.to_thread(
                open_moderation, catalogue, moderator, settings.moderation, self.recorder, clock, deps.feed
            )
            deps.background.append(deps.moderation.keep_up)
        if "interactions" in self._agents:
            from features.engine import FeatureEngine

            engine = await asyncio.to_thread(FeatureEngine.open, settings.home.resolve(), settings.features, clock)
            stack.push_async_callback(asyncio.to_thread, engine.close)
            deps.features = engine
        if "archive" in self._agents:
            from features.archive import ArchiveWriter

            deps.archive = ArchiveWriter(settings.home.resolve() / "archive")
        return deps

    async def _start(self, deps: StreamDeps) -> None:
        (self._settings.home.resolve() / "run").mkdir(parents=True, exist_ok=True)  # Faust makes its folder in it
        for agent in self._agents:
            app = create_app(self._settings, deps, [agent])
            self._units.append(_Unit(agent, app, deps.pumps[-1]))
        await asyncio.gather(*(unit.app.start() for unit in self._units))
        self._unready = "joining the consumer groups"

    async def _shut_down(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        self._unready = "stopping"
        drained = await asyncio.gather(*(unit.pump.drain(DRAIN_S) for unit in self._units))
        if not all(drained):
            _log.warning("a batch did not end in time; it will be delivered again")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(unit.commit() for unit in self._units), return_exceptions=True)
                await asyncio.gather(*(unit.app.stop() for unit in self._units), return_exceptions=True)
        except TimeoutError:
            _log.warning("the consumers did not stop in time; offsets not yet committed are read again")

    # --- health ------------------------------------------------------------------------------------------------

    def _live(self) -> tuple[bool, str]:
        age = time.monotonic() - self._tick
        return (True, "") if age < TICK_STALE_S else (False, f"the event loop has not turned for {age:.0f} s")

    def _ready(self) -> tuple[bool, str]:
        waiting = [unit.pump.processor.waiting_for for unit in self._units if unit.pump.processor.waiting_for]
        why = self._fatal or self._unready or (f"waiting for {'; '.join(waiting)}" if waiting else "")
        return not why, why

    async def _ticking(self) -> None:
        while True:
            self._tick = time.monotonic()
            if self._unready.startswith("joining") and all(unit.joined for unit in self._units):
                self._unready = ""
            crashed = next((unit for unit in self._units if unit.app.should_stop), None)
            if crashed is not None:
                self._give_up(f"the Faust app of {crashed.agent} stopped: {crashed.app.crash_reason!r}")
            await asyncio.sleep(0.2)

    async def _watching(self) -> None:
        settings = self._settings.streams
        dogs = {unit.agent: Watchdog(unit.agent, settings.no_progress_s) for unit in self._units}
        groups = {unit.group: unit.topics for unit in self._units}
        observer = LogObserver(
            self._settings.broker.bootstrap or ""
        )  # never closed: a thread may be looking at the end
        while True:
            await asyncio.sleep(min(5.0, settings.no_progress_s / 6))
            try:
                seen = await asyncio.to_thread(observer.look, groups)
            except RiverlightError as error:
                self._unready = f"the broker does not answer: {error}"
                continue
            if self._unready.startswith("the broker"):
                self._unready = ""
            for unit in self._units:
                self._judge(unit, dogs[unit.agent], _snapshot(unit, seen))

    def _judge(self, unit: "_Unit", dog: Watchdog, seen: Snapshot) -> None:
        for topic in unit.topics:
            lag = sum(number for place, number in seen.lag.items() if place[0] == topic)
            self.recorder.set(metrics.CONSUMER_LAG, lag, agent=unit.agent, topic=topic)
        if why := dog.look(seen, time.monotonic()):
            self._give_up(why)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("a background task failed", exc_info=task.exception())
            self._give_up(f"a background task failed: {task.exception()!r}")

    def _give_up(self, why: str) -> None:
        self._fatal = self._fatal or why
        self._stop.set()


class _Unit:
    """One agent, its app and its pump."""

    def __init__(self, agent: str, app: faust.App, pump: Pump) -> None:
        self.agent = agent
        self.app = app
        self.pump = pump
        self.group = group_id([agent])
        self.topics = pump.topics

    async def commit(self) -> None:
        """Commit what was acked. Faust's own commit at a stop comes when the partitions are already gone."""
        for _ in range(2):  # a call that finds a commit under way only waits for it
            await self.app.consumer.commit()

    @property
    def joined(self) -> bool:
        """Whether the group was joined and its partitions are read (a member without partitions counts)."""
        return bool(self.app.flow_control.is_active())


def _snapshot(unit: _Unit, seen: Observation) -> Snapshot:
    """Return what was seen of the broker and is known of the app, for one agent."""
    try:
        assigned = frozenset((tp.topic, tp.partition) for tp in unit.app.consumer.assignment())
    except Exception:  # not started, or between two assignments: Faust has an exception for each
        assigned = frozenset()
    committed = {(tp.topic, tp.partition): offset for tp, offset in list(unit.app.monitor.tp_committed_offsets.items())}
    return Snapshot(
        lag=seen.lag[unit.group],
        ends={place: end for place, end in seen.ends.items() if place[0] in unit.topics},
        committed=committed,
        epochs={topic: seen.epochs[topic] for topic in unit.topics},
        assigned=assigned,
        waiting_for=unit.pump.processor.waiting_for,
    )


def _open_online(settings: Settings) -> "OnlineStore":
    from features.online import OnlineStore  # imports Feast, which takes seconds

    return OnlineStore.open(settings.home.resolve(), settings.features)


def _close_server(server: MetricsServer) -> None:
    server.close()

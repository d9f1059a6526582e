"""The stage of a goal: a broker, the real worker processes, and (where uploads take part) an image encoder.

Everything lives in one folder and on free loopback ports. The workers are those that `riverlight up` starts
(`infra.entry.worker`), with the same settings; the encoder is Ray Serve with the gateway, unless a test brings another.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from core import topics
from core.errors import Unavailable
from core.settings import BrokerSettings, HttpSettings, ServingSettings, Settings
from infra.chaos.ledger import Ledger, Plan, Sent, write_ledger
from infra.chaos.model import Model
from infra.chaos.observe import Stores, observe
from infra.chaos.processes import BrokerProcess, Keeper, Part, Timeline
from infra.chaos.producing import Producing
from infra.chaos.verifier import Observed, Verdict, verify
from infra.ports import free_port
from infra.runtime import settings_environment
from infra.supervisor.checks import http_ready
from infra.supervisor.spec import ProcessSpec
from monitoring.canary import canary_image
from storage.catalogue import Catalogue
from storage.log.admin import apply_topics, group_lag
from storage.objects import open_object_store
from streams.app import group_id

WORKER = "infra.entry.worker"
SERVING = ("infra.entry.serve",)
SLOW_SERVING = ("infra.chaos.slow_encoder",)  # the same, with an encoder that can be made slow
TROUBLED_SERVING = ("infra.chaos.slow_recommender",)  # and with a recommender that can be in trouble
TROUBLED = "--slow-recommender"  # what asks another for that
UPLOADS = "index-upload"
FEATURES = "interactions"
ARCHIVE = "archive"
POSTS = "moderate-posts"
REACTIONS = "post-reactions"
READY_S = 90.0
_LISTEN = "127.0.0.1"
_CPUS_A_REPLICA = 0.5  # that `serving.app` asks of Ray for each
_SOURCES = {
    UPLOADS: (topics.UPLOADS.name,),
    FEATURES: (topics.INTERACTIONS.name,),
    ARCHIVE: (topics.UPLOADS.name, topics.INTERACTIONS.name),  # of the others, nothing is asked of it
    POSTS: (topics.POSTS.name,),
    REACTIONS: (topics.INTERACTIONS.name,),
}


@dataclass(frozen=True)
class Setting:
    """Where a goal is played. `encoder` is the module of the process that embeds images; None: no uploads take part."""

    folder: Path
    broker: BrokerProcess
    settings: Settings
    encoder: tuple[str, ...] | None = SERVING
    timeline: Timeline = field(default_factory=Timeline)


class Stage:
    """A running set of processes, and the hands of the nemesis. Use it as a context manager: at the end all stop."""

    def __init__(self, setting: Setting, run: str, seed: int, **changes: dict[str, Any]) -> None:
        """Prepare folder, topics and catalogue on a broker that runs.

        Args:
            setting: where.
            run: what all ids begin with; one name for one run.
            seed: of everything that is drawn.
            changes: settings by section, e.g. `streams={"session_timeout_s": 3}`.
        """
        self.run = run
        self.seed = seed
        self.rng = random.Random(seed)
        self.timeline = setting.timeline
        self.broker = setting.broker
        self.parts: dict[str, Part] = {}
        self._agents: set[str] = set()
        self._setting = setting
        self._keeper = Keeper()
        self._asking = ThreadPoolExecutor(3, thread_name_prefix="chaos-lag")  # a question each, at the same time
        self._producers: list[Producing] = []
        self._start_of_events = datetime.now(UTC) - timedelta(hours=1, minutes=10)
        self.settings = _settings(setting, changes)
        self.home = self.settings.home
        self.home.mkdir(parents=True, exist_ok=True)
        apply_topics(self.broker.bootstrap, topics.ALL, self.settings.broker)
        Catalogue.open(self.settings.catalogue_url, self.settings.catalogue).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for producer in self._producers:
            producer.stop()
        self._keeper.close()
        self._asking.shutdown()

    # --- processes ---------------------------------------------------------------------------------------------

    @property
    def takes_uploads(self) -> bool:
        """Whether there is something that embeds images."""
        return self._setting.encoder is not None

    @property
    def on_ray_serve(self) -> bool:
        """Whether the encoder and the gateway are the real ones, on Ray Serve."""
        return self._setting.encoder == SERVING

    @property
    def tools(self) -> Path:
        """The home folder of whoever runs this: where programs are kept that were fetched once."""
        return self._setting.settings.home

    @property
    def http_url(self) -> str:
        return f"http://{self.settings.http.host}:{self.settings.http.port}"

    def worker(self, name: str, agents: Sequence[str], *, module: str = WORKER, **environment: str) -> Part:
        """Start a worker process with some agents; `environment` is added to what it is given."""
        port = free_port()
        arguments = ("--agents", ",".join(agents), "--metrics-port", str(port), "--name", name)
        self._agents.update(agents)
        return self.start(name, [module, *arguments], http_ready(_LISTEN, port), **environment)

    def took_part(self) -> tuple[str, ...]:
        """Name the real parts of this stage, for a result."""
        encoder: tuple[str, ...] = ()
        if self._setting.encoder is not None:
            real = "Ray Serve: image encoder, gateway with the live index"
            real += ", moderator" if POSTS in self._agents else ""
            encoder = (real if self.on_ray_serve else "a stand-in encoder",)
        agents = tuple(f"agent {agent} (worker process)" for agent in sorted(self._agents))
        return (*agents, *encoder)

    def workers(self, *, wait: bool = True) -> list[Part]:
        """Start the workers of the local profile: content (where uploads take part) and behaviour."""
        started = [self.worker("behaviour", (FEATURES, ARCHIVE))]
        if self.takes_uploads:
            started.append(self.worker("content", (UPLOADS,)))
        for part in started if wait else ():
            part.wait_ready(READY_S)
        return started

    def encoder(self, *, can_be_slow: bool = False, recommender: bool = False) -> Part | None:
        """Start what embeds images and wait for it; None where uploads take no part.

        `can_be_slow`: with an encoder that `infra.chaos.slow_encoder.Slowness` makes slow; `recommender`: with one that
        `infra.chaos.slow_recommender.Trouble` troubles.
        """
        if self._setting.encoder is None:
            return None
        module, *arguments = self._setting.encoder
        if recommender and not self.on_ray_serve:
            arguments.append(TROUBLED)
        elif self.on_ray_serve and (can_be_slow or recommender):
            module, *arguments = SLOW_SERVING if can_be_slow else TROUBLED_SERVING
        ready = http_ready(self.settings.http.host, self.settings.http.port)
        part = self.start("serve", [module, *arguments], ready)
        part.wait_ready(180)
        return part

    def crash(self) -> None:
        """Kill every process of the stage at once, the broker's included (SIGKILL)."""
        for part in self.parts.values():
            part.crash()
        self.timeline.add("broker killed (SIGKILL)")
        self.broker.kill()

    def start_again(self, timeout_s: float) -> float:
        """Start everything as `riverlight up` does, and return how long it took until all were ready.

        Raises Unavailable when one was not within the time.
        """
        begun = time.monotonic()
        self.broker.start()
        late = [part for name, part in self.parts.items() if name == "behaviour" and "serve" in self.parts]
        early = [part for part in self.parts.values() if part not in late]
        for parts in (early, late):  # the models first: the behaviour worker would take the processor from them
            for part in parts:
                part.start()
            for part in parts:
                part.wait_ready(timeout_s)
        return time.monotonic() - begun

    def start(self, name: str, module: Sequence[str], ready: Callable[[], str | None], **environment: str) -> Part:
        """Start `python -m module …` as a named part that is kept running."""
        variables = {**settings_environment(self.settings), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        for use in ("METRICS", "STATS"):
            variables[f"RAY_SERVE_HAPROXY_{use}_PORT"] = str(free_port())
        spec = ProcessSpec(name, lambda: [sys.executable, "-m", *module], {**variables, **environment}, ready=ready)
        part = Part(spec, self.home / "logs" / f"{name}.log", self.timeline)
        self.parts[name] = part
        part.start()
        self._keeper.add(part)
        return part

    # --- events ------------------------------------------------------------------------------------------------

    @property
    def start_of_events(self) -> datetime:
        """When the first event of a ledger happened: all of them are in the past when they are sent."""
        return self._start_of_events

    def ledger(self, plan: Plan, *, media: int = 40, start: datetime | None = None) -> Ledger:
        """Write the ledger of this run; without an encoder it has no uploads."""
        self._start_of_events = start or self._start_of_events
        media_ids = self.store([canary_image(self.seed * 1000 + n) for n in range(media)]) if self.takes_uploads else ()
        chosen = plan if self.takes_uploads else replace(plan, upload_share=0.0)
        return write_ledger(self.seed, self.run, chosen, start=self.start_of_events, media_ids=media_ids)

    def store(self, media: Sequence[bytes]) -> list[str]:
        """Put bytes into the object store and return their media ids."""
        store = open_object_store(self.settings.objects_url)

        async def put() -> list[str]:
            return [await store.put(data) for data in media]

        return asyncio.run(put())

    def produce(self, sent: Sequence[Sent], *, rate: float | None = None, batch: int = 50) -> Producing:
        """Begin to send."""
        producer = Producing(self.broker.bootstrap, sent, rate=rate, batch=batch)
        self._producers.append(producer)
        return producer

    # --- judgement ---------------------------------------------------------------------------------------------

    def lag(self) -> int:
        """Return how many records the agents that were started have not committed. Raises Unavailable."""
        return sum(self._asking.map(self._lag_of, sorted(self._agents)))

    def _lag_of(self, agent: str) -> int:
        return sum(group_lag(self.broker.bootstrap, group_id([agent]), _SOURCES[agent]).values())

    def wait_lag(self, at_most: int, timeout_s: float) -> float:
        """Return how long it took until the agents were at most this far behind. Raises Unavailable."""
        begun = time.monotonic()
        lag: int | str = "unknown"
        while time.monotonic() - begun < timeout_s:
            try:
                lag = self.lag()
                if lag <= at_most:
                    return time.monotonic() - begun
            except Unavailable as error:
                lag = str(error)
            time.sleep(0.2)
        raise Unavailable(f"after {timeout_s:g} s the agents are still behind: {lag}")

    def observe(self, model: Model) -> Observed:
        """Read every store that takes part."""
        serving = self.http_url if self.on_ray_serve and "serve" in self.parts else None
        stores = Stores(
            self.settings, UPLOADS in self._agents, FEATURES in self._agents, ARCHIVE in self._agents, serving
        )
        return observe(stores, model, self.run)

    def settle(
        self, model: Model, timeout_s: float, *, required: frozenset[str] | None = None
    ) -> tuple[Verdict, Observed]:
        """Wait until the agents have caught up and the stores say what they must, or the time is over; judge then.

        The last look decides: what is wrong for a moment (a row that waits for its push) is not a finding, what stays
        wrong is.
        """
        seen: list[Observed] = []

        def look() -> Verdict:
            seen.append(self.observe(model))
            return verify(model, seen[-1], required=required)

        return self.until_clean(look, timeout_s), seen[-1]

    def until_clean(self, look: Callable[[], Verdict], timeout_s: float) -> Verdict:
        """Wait until the agents have caught up and what `look` reads and judges is right, or the time is over.

        Raises Unavailable when the stores do not answer in the end.
        """
        deadline = time.monotonic() + timeout_s
        stuck = ""
        try:
            self.wait_lag(0, timeout_s)
        except Unavailable as error:
            stuck = str(error)
        while True:
            try:
                verdict = look()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            else:
                if verdict.clean or time.monotonic() > deadline:
                    break
            time.sleep(0.5)
        if stuck:
            verdict.add("wrong", stuck)
        return verdict


def _settings(setting: Setting, changes: dict[str, dict[str, Any]]) -> Settings:
    base = setting.settings
    http = HttpSettings(port=free_port())
    broker = BrokerSettings(bootstrap=setting.broker.bootstrap)
    sections: dict[str, Any] = {"home": setting.folder.resolve(), "http": http, "broker": broker}
    sections["serving"] = ServingSettings(num_cpus=base.serving.num_cpus)
    for name, values in changes.items():
        sections[name] = sections.get(name, getattr(base, name)).model_copy(update=values)
    sections["serving"] = _with_room(sections["serving"])
    return base.model_copy(update=sections)


def _with_room(serving: ServingSettings) -> ServingSettings:
    """Let Ray schedule every replica: one that finds no room waits for ever, and so does who counts them."""
    replicas = serving.gateway_replicas + serving.encoder_replicas + serving.moderator_replicas
    return serving.model_copy(update={"num_cpus": max(serving.num_cpus, replicas * _CPUS_A_REPLICA)})

"""The processes of the local profile, in the order in which they start."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from core import topics
from core.clock import SystemClock
from core.settings import Settings
from infra.broker.probe import wait_until_ready
from infra.broker.selection import BrokerChoice, choose
from infra.debian_packages import find_program
from infra.ports import free_port, require_free
from infra.prometheus_server import PrometheusServer
from infra.runtime import BrokerState, settings_environment
from infra.service_tokens import ServiceTokens
from infra.supervisor.checks import broker_ready, http_ready
from infra.supervisor.spec import ProcessSpec, Progress
from models.embedding_service import ENCODER_PREFIX
from models.moderation_service import MODERATOR_PREFIX
from storage.catalogue import Catalogue
from storage.log.admin import apply_topics

LOOPBACK = "127.0.0.1"
CONTENT_AGENTS = ("index-upload", "recommendation-outcomes")
# In the content worker, too.
MODERATION_AGENTS = ("moderate-posts", "moderate-uploads", "post-reactions", "author-profiles")
BEHAVIOUR_AGENTS = ("interactions", "archive")
MODERATION_FEATURES_AGENTS = ("moderation-features",)  # in the behaviour worker, which has Feast
EXTERNAL_BROKER_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Profile:
    """What to run: settings with every port decided, processes in order, and where things will be found."""

    settings: Settings
    specs: tuple[ProcessSpec, ...]
    broker: BrokerState
    urls: dict[str, str]
    access: str = ""  # who may call the API, in words
    while_running: Callable[[], None] = lambda: None  # called several times a second


@dataclass(frozen=True)
class _Ports:
    """The loopback ports of the processes that only show metrics."""

    content: int
    behaviour: int
    canary: int
    prometheus: int


def local_profile(settings: Settings) -> Profile:
    """Decide broker and ports and describe every process. Starts nothing.

    Raises:
        ConfigurationError: the wanted broker cannot run here, or a port is taken (by whom is said).
        Unavailable: an external broker does not answer.
    """
    choice = choose(settings.broker, settings.home.resolve())
    settings = _decided(settings, choice)
    ports = _check_ports(settings, choice)
    if choice.local is None:
        wait_until_ready(choice.bootstrap, EXTERNAL_BROKER_TIMEOUT_S)
    prometheus = _prometheus(settings, ports)
    http = f"http://{settings.http.host}:{settings.http.port}"
    urls = {"http": http, "console": f"{http}/console", "metrics": f"{http}/metrics", "broker": choice.bootstrap}
    if prometheus is not None:
        urls["prometheus"] = f"http://{LOOPBACK}:{ports.prometheus}"
    broker = BrokerState(choice.kind, choice.bootstrap, choice.durable, choice.promise, list(choice.missing))
    tokens = ServiceTokens(settings, SystemClock())
    specs = _specs(settings, choice, ports, prometheus, tokens)
    return Profile(settings, specs, broker, urls, tokens.describe(), tokens.renew)


def _specs(
    settings: Settings,
    choice: BrokerChoice,
    ports: _Ports,
    prometheus: PrometheusServer | None,
    tokens: ServiceTokens,
) -> tuple[ProcessSpec, ...]:
    environment = {**settings_environment(settings), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    prepare_data = partial(_prepare_data, settings)
    specs: list[ProcessSpec] = []
    first: tuple[str, ...] = ()
    if choice.local is not None:
        specs.append(
            ProcessSpec(
                "broker",
                choice.local.command,
                environment,
                prepare=choice.local.prepare,
                ready=broker_ready(choice.bootstrap),
                on_ready=prepare_data,
                stop_grace_s=20,
            )
        )
        first = ("broker",)
    serve = ProcessSpec(
        "serve",
        _python("infra.entry.serve"),
        {**environment, **_haproxy_ports()},
        after=first,
        prepare=_once(prepare_data) if choice.local is None else _report_nothing,
        ready=http_ready(settings.http.host, settings.http.port),
        start_timeout_s=300,  # from a disk that is cold and slow, torch alone takes half a minute
        stop_grace_s=25,
    )
    # The content worker starts while the models load: an upload that comes before the encoder answers waits in the
    # log. The behaviour worker imports Feast, which would take the processor from the models: search comes first.
    content_after = first or ("serve",)  # with an external broker, serve's preparation makes the topics
    content_environment = environment | tokens.environment("worker-content")
    content_agents = CONTENT_AGENTS + (MODERATION_AGENTS if settings.moderation.enabled else ())
    behaviour_agents = BEHAVIOUR_AGENTS + (MODERATION_FEATURES_AGENTS if settings.moderation.enabled else ())
    content = _worker(settings, content_environment, "content", content_agents, ports.content, content_after)
    behaviour = _worker(settings, environment, "behaviour", behaviour_agents, ports.behaviour, ("serve",))
    specs += [serve, content, behaviour]
    if settings.monitoring.canary:
        specs.append(
            ProcessSpec(
                "canary",
                _python("infra.entry.canary", "--metrics-port", str(ports.canary)),
                environment | tokens.environment("canary"),
                after=("serve", "worker-content"),
                ready=http_ready(LOOPBACK, ports.canary),
                required=False,
            )
        )
    if prometheus is not None:
        specs.append(
            ProcessSpec(
                "prometheus",
                prometheus.command,
                {**environment, **prometheus.program.environment},
                after=("worker-content",),
                prepare=lambda _: prometheus.prepare(
                    _targets(settings, ports),
                    settings.monitoring.scrape_interval_s,
                    tokens.files("prometheus", for_jobs=("gateway", "image-encoder", "moderator")),
                ),
                ready=http_ready(LOOPBACK, ports.prometheus, "/-/ready"),
                required=False,
            )
        )
    return tuple(specs)


def _haproxy_ports() -> dict[str, str]:
    # Ray Serve's HAProxy would take 9101 and 8404 for itself; nobody looks there, so any free ports do.
    return {f"RAY_SERVE_HAPROXY_{use}_PORT": str(free_port()) for use in ("METRICS", "STATS")}


def _worker(
    settings: Settings,
    environment: dict[str, str],
    name: str,
    agents: tuple[str, ...],
    port: int,
    after: tuple[str, ...],
) -> ProcessSpec:
    arguments = ("--agents", ",".join(agents), "--metrics-port", str(port), "--name", name)
    return ProcessSpec(
        f"worker-{name}",
        _python("infra.entry.worker", *arguments),
        environment,
        after=after,
        ready=http_ready(LOOPBACK, port),
        start_timeout_s=90,
        stop_grace_s=20,
    )


def _decided(settings: Settings, choice: BrokerChoice) -> Settings:
    """Return the settings with the broker's address and no port left at 0."""
    broker = settings.broker.model_copy(update={"bootstrap": choice.bootstrap})
    http = settings.http.model_copy(update={"port": settings.http.port or free_port()})
    return settings.model_copy(update={"home": settings.home.resolve(), "broker": broker, "http": http})


def _check_ports(settings: Settings, choice: BrokerChoice) -> _Ports:
    first = settings.monitoring.worker_metrics_port
    metrics = [first + number if first else free_port() for number in range(3)]
    prometheus = settings.monitoring.prometheus_port or free_port()
    if choice.local is not None:
        require_free(int(choice.bootstrap.rpartition(":")[2]), LOOPBACK, "broker.port")
    require_free(settings.http.port, settings.http.host, "http.port")
    for port in metrics:
        require_free(port, LOOPBACK, "monitoring.worker_metrics_port")
    return _Ports(metrics[0], metrics[1], metrics[2], prometheus)


def _prometheus(settings: Settings, ports: _Ports) -> PrometheusServer | None:
    program = find_program("prometheus", settings.home) if settings.monitoring.prometheus else None
    if program is None:
        return None
    require_free(ports.prometheus, LOOPBACK, "monitoring.prometheus_port")
    return PrometheusServer(program, settings.home / "prometheus", ports.prometheus)


def _targets(settings: Settings, ports: _Ports) -> dict[str, str]:
    http = f"{settings.http.host}:{settings.http.port}"
    targets = {
        "gateway": http,
        "image-encoder": http + ENCODER_PREFIX + "/metrics",
        **({"moderator": http + MODERATOR_PREFIX + "/metrics"} if settings.moderation.enabled else {}),
        "worker-content": f"{LOOPBACK}:{ports.content}",
        "worker-behaviour": f"{LOOPBACK}:{ports.behaviour}",
    }
    return {**targets, "canary": f"{LOOPBACK}:{ports.canary}"} if settings.monitoring.canary else targets


def _prepare_data(settings: Settings, progress: Progress) -> None:
    """Make the broker match the declared topics and the catalogue match the code."""
    progress("applying topics")
    apply_topics(str(settings.broker.bootstrap), topics.ALL, settings.broker)
    progress("migrating the catalogue")
    Catalogue.open(settings.catalogue_url, settings.catalogue).close()


def _once(prepare: Callable[[Progress], None]) -> Callable[[Progress], None]:
    done: list[bool] = []

    def run(progress: Progress) -> None:
        if not done:
            prepare(progress)
            done.append(True)

    return run


def _report_nothing(progress: Progress) -> None:
    """Nothing to prepare."""


def _python(module: str, *arguments: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", module, *arguments]

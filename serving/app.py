"""Builds and runs the serving side: the gateway, the image encoder and the moderator on Ray Serve.

`build_app` describes, `run` runs. Ray is imported only where it is used, after the environment that it reads is set.
"""

import math
import os
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from core.errors import Unavailable
from core.settings import ServingSettings, Settings, set_environment
from serving.ray_environment import ray_environment, short_folder

if TYPE_CHECKING:
    from ray.serve import Application

_log = structlog.get_logger(__name__)

GATEWAY, ENCODER, MODERATOR = "gateway", "image-encoder", "moderator"
ROUTES = {GATEWAY: "/", ENCODER: "/models/image-encoder", MODERATOR: "/models/moderator"}

_GATEWAY_BYTES = 600 * 1024**2
_ENCODER_BYTES = 1200 * 1024**2
_MODERATOR_BYTES = 600 * 1024**2
_HEALTHY_WITHIN_S = 240.0
_RETRY_AFTER_S = 1.0


def build_app(settings: Settings, node_resources: Mapping[str, str] | None = None) -> "dict[str, Application]":
    """Return the Serve applications by name; `ROUTES` says where each is mounted.

    Args:
        node_resources: by application, a resource of the cluster's own of which each replica takes one: it runs only on
            nodes that have it, and on each as often as it has.
    """
    from ray import serve

    from serving.encoder import ImageEncoderService
    from serving.gateway.replica import Gateway
    from serving.moderator import ModeratorService

    serving = settings.serving
    resources = {name: {resource: 1.0} for name, resource in (node_resources or {}).items()}
    encoder: Any = serve.deployment(
        ImageEncoderService,
        name=ENCODER,
        num_replicas=serving.encoder_replicas,
        ray_actor_options={
            "num_cpus": 0.5,
            "num_gpus": serving.encoder_gpus,
            "memory": _ENCODER_BYTES,
            "resources": resources.get(ENCODER, {}),
        },
        **_limits(serving),
    )
    gateway: Any = serve.deployment(
        serve.ingress()(Gateway),
        name=GATEWAY,
        num_replicas=serving.gateway_replicas,
        ray_actor_options={"num_cpus": 0.5, "memory": _GATEWAY_BYTES, "resources": resources.get(GATEWAY, {})},
        **_gateway_limits(serving),
    )
    applications = {ENCODER: encoder.bind(settings), GATEWAY: gateway.bind(settings, ENCODER, MODERATOR)}
    if settings.moderation.enabled:
        moderator: Any = serve.deployment(
            ModeratorService,
            name=MODERATOR,
            num_replicas=serving.moderator_replicas,
            ray_actor_options={
                "num_cpus": 0.5,
                "memory": _MODERATOR_BYTES,
                "resources": resources.get(MODERATOR, {}),
            },
            **_limits(serving),
        )
        applications[MODERATOR] = moderator.bind(settings, ENCODER)
    return applications


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Prints the URL once the first request can be answered.

    Raises:
        Unavailable: the applications did not become healthy in time; the log says why.
    """
    stop = threading.Event()
    _stop_on_signals(stop)
    set_environment(**ray_environment(settings))
    started = time.monotonic()
    try:
        _start_ray(settings)
        _stop_on_signals(stop)  # again: Ray takes SIGTERM for itself when it starts, and aborts on it
        _deploy(settings)
        _wait_until_healthy(settings, stop)
        if not stop.is_set():
            _log.info("serving", url=_url(settings), after_s=round(time.monotonic() - started, 1))
            print(f"serving on {_url(settings)}", flush=True)  # noqa: T201 - the supervisor and people read it
        _watch(stop)
    finally:
        _shut_down(settings)


def _stop_on_signals(stop: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _limits(serving: ServingSettings) -> dict[str, Any]:
    from ray.serve.config import BackpressureConfig

    return {
        "max_ongoing_requests": serving.max_ongoing_requests,
        "max_queued_requests": serving.max_queued_requests,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=_RETRY_AFTER_S),
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 15.0,  # two busy cores: a late answer is not a dead replica
        "graceful_shutdown_timeout_s": 10.0,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": {"enable_access_log": False},  # it would write down paths, and ids of people are in them
    }


def _gateway_limits(serving: ServingSettings) -> dict[str, Any]:
    """The gateway keeps its own queue, whose 429 is a problem document; Serve's is the bound behind it.

    It leaves room for those that wait for the rest of their bodies, and for what watches an overloaded gateway.
    """
    own = serving.max_ongoing_requests + serving.max_queued_requests + serving.max_receiving_requests
    return {**_limits(serving), "max_ongoing_requests": own + 8, "max_queued_requests": serving.max_queued_requests}


def _start_ray(settings: Settings) -> None:
    import ray
    from ray import serve

    if settings.serving.ray_address is not None:
        ray.init(address=settings.serving.ray_address, namespace="riverlight", log_to_driver=False)
    else:
        ray.init(
            address="local",
            namespace="riverlight",
            num_cpus=math.ceil(settings.serving.num_cpus),
            object_store_memory=settings.serving.object_store_mb * 1024**2,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(short_folder(settings.home, "ray")),
            log_to_driver=False,
        )
    serve.start(
        http_options={
            "host": settings.http.host,
            "port": settings.http.port,
            "keep_alive_timeout_s": settings.http.keep_alive_s,
            # The gateway and the encoder answer within their own deadlines; this is for when they cannot.
            "request_timeout_s": settings.http.request_timeout_s + 5,
        }
    )


def _deploy(settings: Settings) -> None:
    """Deploy the applications at once: the encoder loads torch while the gateway loads the rest."""
    from ray.serve.api import RunTarget, run_many

    applications = build_app(settings)
    run_many(
        [RunTarget(target=target, name=name, route_prefix=ROUTES[name]) for name, target in applications.items()],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def _wait_until_healthy(settings: Settings, stop: threading.Event) -> None:
    from ray import serve

    deadline = time.monotonic() + _HEALTHY_WITHIN_S
    while not stop.wait(0.2):
        if _answers(f"{_url(settings)}/livez"):
            return
        states = serve.status().applications
        failed = {name: state.message for name, state in states.items() if state.status == "DEPLOY_FAILED"}
        if failed:
            raise Unavailable(f"deploying failed: {failed}")
        if time.monotonic() > deadline:
            raise Unavailable(f"not healthy within {_HEALTHY_WITHIN_S:g} s: {states}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _watch(stop: threading.Event) -> None:
    """Wait for the end; if Ray itself is gone, end too, so that the supervisor starts both again."""
    import ray

    while not stop.wait(2.0):
        if not ray.is_initialized():
            raise Unavailable("Ray has ended")


def _shut_down(settings: Settings) -> None:
    import ray
    from ray import serve

    try:
        if ray.is_initialized():
            serve.shutdown()
    except Exception:  # the rest must be ended whatever this one says
        _log.exception("serve_shutdown_failed")
    if settings.serving.ray_address is None:
        ray.shutdown()
        _end_haproxy(short_folder(settings.home, "haproxy"))
        for name in ("ray", "haproxy"):  # sockets, sessions of Ray with their logs: of no use after the end
            shutil.rmtree(short_folder(settings.home, name), ignore_errors=True)


def _end_haproxy(folder: Path) -> None:
    """End a HAProxy of ours that outlived Serve: it would keep the port. Known by the configuration it was given."""
    import psutil

    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        ours = any(part.startswith(f"{folder}/") and part.endswith("haproxy.cfg") for part in command)
        if process.info["name"] == "haproxy" and ours and process.pid != os.getpid():
            _log.warning("haproxy_left_over", pid=process.pid)
            process.terminate()


def _url(settings: Settings) -> str:
    return f"http://{settings.http.host}:{settings.http.port}"

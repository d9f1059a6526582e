"""Builds a Faust app for some agents. Nothing is global, nothing connects before the app is started."""

from collections.abc import Sequence
from typing import Any

import faust

from core.errors import ConfigurationError
from streams.agents import REGISTER, check_names
from streams.dependencies import StreamDeps
from streams.transport import BatchTransport, FetchWaits


def group_id(agents: Sequence[str]) -> str:
    """Return the consumer group of an app that runs `agents`.

    The worker gives each agent an app, hence a group, of its own: agents can be moved between processes without
    losing their place, and the lag of one does not hold back the commits of another.
    """
    return "riverlight-" + "+".join(sorted(agents))


def create_app(settings: Any, deps: StreamDeps, agents: Sequence[str]) -> faust.App:
    """Return an app with `agents` registered.

    It reads raw bytes, has no tables, no web server, creates no topics, and is at-least-once.

    Raises:
        ConfigurationError: an unknown agent, an agent whose collaborator is missing, or no broker in the settings.
    """
    check_names(tuple(agents))
    bootstrap = settings.broker.bootstrap
    if not bootstrap:
        raise ConfigurationError("broker.bootstrap is not set: start the system with `riverlight up`, or set it")
    streams = settings.streams
    app = faust.App(
        group_id(agents),
        broker=[f"kafka://{server.strip()}" for server in bootstrap.split(",")],
        autodiscover=False,
        set_as_current=False,
        datadir=settings.home.resolve() / "run" / "faust",
        processing_guarantee="at_least_once",
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=streams.commit_interval_s,
        broker_commit_every=streams.commit_every,
        broker_max_poll_records=streams.stream_buffer,
        broker_session_timeout=streams.session_timeout_s,
        broker_heartbeat_interval=streams.session_timeout_s / 4,
        broker_rebalance_timeout=max(60.0, streams.session_timeout_s),
        stream_buffer_maxsize=streams.stream_buffer,
        # Waiting for unacked records is unbounded in Faust; the worker drains its pumps itself, with a deadline.
        stream_wait_empty=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        producer_acks=-1,
        producer_max_batch_size=1,  # the app produces nothing; on the embedded broker larger batches are misread
        web_enabled=False,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_metrics_enabled=False,
        logging_config=None,
        loghandlers=[],
    )
    waits = FetchWaits(some=round(streams.fetch_max_wait_s * 1000), all=round(streams.fetch_idle_wait_s * 1000))
    app.transport = BatchTransport(app.conf.broker_consumer, app, waits)
    app.boot_strategy.enable_web = False  # the worker command would overrule `web_enabled`
    for name in agents:
        REGISTER[name](app, deps)
    return app

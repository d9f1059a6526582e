"""The reference pages that are written from the code: settings, topics, metrics, events."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core import topics
from core.events import STREAM_EVENTS
from core.settings import BrokerSettings, Settings
from infra import kubernetes_files, reference_apis, reference_cli
from infra.capacity import page as capacity_page
from monitoring import catalogue, prometheus_config, rules
from monitoring.alerts import ALERTS
from monitoring.dashboards import DASHBOARDS, grafana
from monitoring.objectives import PAGE_BURNS, ROUTE_WITHIN_S, TICKET_BURNS
from monitoring.promises import PROMISES

#: Partitions of the source topics, by overlay: RIVERLIGHT_BROKER__PARTITIONS in its settings.env.
KUBERNETES_PARTITIONS = {"small": 4, "production": 48}
GRAFANA = "infra/provisioning/grafana"
GENERATED = "<!-- Written by `riverlight docs`; change the code, not this page. -->\n\n"


def pages() -> Mapping[str, Callable[[], str]]:
    """Return every generated file (path from the project's root) with the function that writes its text."""
    files: dict[str, Callable[[], str]] = {
        "docs/reference/settings.md": settings_page,
        "docs/reference/topics.md": topics_page,
        "docs/reference/metrics.md": metrics_page,
        "docs/reference/events.schema.json": events_schema,
        "docs/reference/cli.md": lambda: GENERATED + reference_cli.cli_page(),
        "docs/reference/openapi.json": reference_apis.openapi,
        "docs/reference/asyncapi.json": reference_apis.asyncapi,
        "docs/reference/capacity.md": lambda: GENERATED + capacity_page.page(),
        f"docs/reference/{capacity_page.PLOT}": capacity_page.plot,
        "infra/compose/prometheus.yml": compose_prometheus,
        "infra/kubernetes/base/rules.yaml": kubernetes_files.prometheus_rules,
        "docs/slo.md": objectives_page,
        "infra/provisioning/prometheus/rules.json": rules.render,
        f"{GRAFANA}/datasources/prometheus.yaml": grafana.render_datasource,
        f"{GRAFANA}/dashboards/riverlight.yaml": grafana.render_provider,
    }
    for overlay, partitions in KUBERNETES_PARTITIONS.items():
        broker = BrokerSettings(replication_factor=3, partitions=partitions)
        files[f"infra/kubernetes/overlays/{overlay}/topics.yaml"] = partial(kubernetes_files.kafka_topics, broker)
    for dashboard in DASHBOARDS:
        files[f"{GRAFANA}/dashboards/{dashboard.uid}.json"] = partial(grafana.render, dashboard)
    return files


def write_pages(root: Path) -> list[str]:
    """Write every page under `root` and return the paths of those that changed."""
    changed = []
    for path, render in pages().items():
        file, text = root / path, render()
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def stale_pages(root: Path) -> list[str]:
    """Return the paths of the pages that the code no longer says."""
    return [
        path
        for path, render in pages().items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != render()
    ]


def settings_page() -> str:
    """Every setting with its environment variable, default and meaning."""
    lines = [
        GENERATED + "# Settings\n",
        "The first that has a value wins: command-line arguments, environment variables, a folder of secrets (named",
        "by `RIVERLIGHT_SECRETS`, one file a setting, called as the variable without its prefix: `catalogue__url`), a",
        "TOML file (`riverlight.toml` in the current folder, or the file named by `RIVERLIGHT_CONFIG`), the defaults",
        "below.\n",
        *_settings_table(Settings, ""),
    ]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [f"\n## {name}\n", (section.__doc__ or "").strip() + "\n", *_settings_table(section, f"{name}.")]
    return "\n".join(lines) + "\n"


def topics_page() -> str:
    """Every topic with its key, partitions, retention and content."""
    lines = [
        GENERATED + "# Topics\n",
        "`riverlight topics apply` makes the broker match this table. A record holds one CloudEvents 1.0 event as",
        "JSON, or a frame: a JSON array of them. [events.schema.json](events.schema.json) is the schema.\n",
        "| topic | key | holds | partitions | kept |",
        "| --- | --- | --- | --- | --- |",
    ]
    for topic in topics.ALL:
        days = topic.retention_ms // topics.DAY_MS
        kept = (
            "newest per key (compacted)"
            if topic.cleanup == "compact"
            else f"{days} days, {_gib(topic.retention_bytes)}"
        )
        lines.append(f"| `{topic.name}` | {topic.key} | {topic.holds} | {topic.partitions} | {kept} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric with its type, labels and meaning, and every alert."""
    lines = [
        GENERATED + "# Metrics\n",
        "| metric | type | labels | meaning | owner |",
        "| --- | --- | --- | --- | --- |",
    ]
    for metric in catalogue.all_metrics():
        name = metric.name + ("_total" if isinstance(metric, catalogue.Counter) else "")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {type(metric).__name__.lower()} | {labels} | {metric.help} | {metric.owner} |")
    lines += ["\n## Recorded series\n", "| series | is |", "| --- | --- |"]
    lines += [f"| `{one.name}` | `{_cell(one.expr)}` |" for one in rules.RECORDINGS]
    lines += ["\n## Alerts\n", "| alert | when | for | severity | runbook |", "| --- | --- | --- | --- | --- |"]
    for alert in ALERTS:
        runbook = f"[{alert.runbook}](../runbooks/{alert.runbook})"
        lines.append(f"| {alert.name} | `{_cell(alert.expr)}` | {alert.for_} | {alert.severity} | {runbook} |")
    return "\n".join(lines) + "\n"


def objectives_page() -> str:
    """Every promise with its target, how it is measured, its alerts and their runbooks."""
    lines = [
        GENERATED + "# What is promised, and how it is watched\n",
        "The rows are those of the dashboard *Platform overview*. A `page` wakes somebody: people notice, or will",
        "within the hour. A `ticket` waits for the morning. [How to observe](how-to/observe.md) says how to start all",
        "of this; [metrics](reference/metrics.md) has every metric and the condition of every alert.\n",
        "| promise | target | measured by | alerts |",
        "| --- | --- | --- | --- |",
    ]
    for promise in PROMISES:
        alerts = ", ".join(
            f"[{alert.name}](runbooks/{alert.runbook}) ({alert.severity})" for alert in promise.all_alerts()
        )
        lines.append(f"| {promise.title} | {promise.target} | {promise.measured_by} | {alerts} |")
    lines += [
        "\n## When an allowance burns\n",
        "A target of 99 % allows one bad case in a hundred. *BurnsFast* and *BurnsSlowly* ask how many times faster",
        "than that the cases go bad, over a long window and a short one at once: the long one keeps a blip from waking",
        "anybody, the short one ends the alert soon after its cause.\n",
        "| alert | times the allowed rate | over | and over | a month's allowance lasts |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, burns in (("BurnsFast", PAGE_BURNS), ("BurnsSlowly", TICKET_BURNS)):
        lines += [f"| {name} | {times:g} | {long} | {short} | {30 / times:.2g} days |" for times, long, short in burns]
    lines += [
        "\n## Times of routes\n",
        "| route | 99 % of successful answers within |",
        "| --- | --- |",
        *(f"| `{route}` | {bound * 1000:g} ms |" for route, bound in ROUTE_WITHIN_S.items()),
    ]
    return "\n".join(lines) + "\n"


def events_schema() -> str:
    """The JSON Schema of every event, by collector stream."""
    refs, definitions = msgspec.json.schema_components(STREAM_EVENTS.values(), ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Riverlight events by collector stream",
        "type": "object",
        "properties": dict(zip(STREAM_EVENTS, refs, strict=True)),
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2) + "\n"


def compose_prometheus() -> str:
    """The Prometheus configuration of the compose system: its services by name."""
    targets = {
        "gateway": "serve:9111",
        "image-encoder": "serve:9112",
        "moderator": "serve:9113",
        **{name: f"{name}:9101" for name in ("worker-content", "worker-behaviour", "canary")},
    }
    return prometheus_config.render(targets, [Path("/etc/riverlight/rules/rules.json")], 5.0)


def _settings_table(model: type[BaseModel], prefix: str) -> Iterator[str]:
    yield "| setting | environment | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        variable = "RIVERLIGHT_" + f"{prefix}{name}".upper().replace(".", "__")
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{prefix}{name}` | `{variable}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value is PydanticUndefined:
        return "unset"
    return f"`{value}`"


def _cell(code: str) -> str:
    return code.replace("|", "\\|")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:g} GiB a partition"

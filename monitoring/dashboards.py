"""Grafana dashboards as code. `render(dashboard)` gives the JSON that Grafana provisions."""

import json
from dataclasses import dataclass
from typing import Any

from monitoring import catalogue as m
from monitoring.promql import mean, quantile


@dataclass(frozen=True)
class Panel:
    """One graph: what it shows in words, its unit (Grafana's names) and its queries with their legends."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    threshold: float | None = None


@dataclass(frozen=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page of rows."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def _rate(metric: m.Counter, by: str) -> str:
    return f"sum by ({by}) (rate({metric.name}_total[5m]))"


OVERVIEW = Dashboard(
    "riverlight-overview",
    "Riverlight / Platform overview",
    (
        Row(
            "Fresh: searchable in a second, gone in a second",
            (
                Panel(
                    "Canary freshness, p99",
                    "From sending an event to seeing its effect through the public API.",
                    "s",
                    ((quantile(0.99, m.CANARY_FRESHNESS, by=("system", "effect")), "{{system}} {{effect}}"),),
                    threshold=1.0,
                ),
                Panel(
                    "Freshness of all events, p50 and p99",
                    "From every event happening to its effect being applied where it is served.",
                    "s",
                    (
                        (quantile(0.5, m.FRESHNESS, by=("system", "effect")), "{{system}} {{effect}} p50"),
                        (quantile(0.99, m.FRESHNESS, by=("system", "effect")), "{{system}} {{effect}} p99"),
                    ),
                    threshold=1.0,
                ),
                Panel(
                    "Canary runs",
                    "Runs by outcome.",
                    "ops",
                    ((_rate(m.CANARY_RUNS, "system, outcome"), "{{system}} {{outcome}}"),),
                ),
            ),
        ),
        Row(
            "Nothing lost",
            (
                Panel(
                    "Events by outcome",
                    "Applied, duplicate, dead letter.",
                    "ops",
                    ((_rate(m.EVENTS, "agent, outcome"), "{{agent}} {{outcome}}"),),
                ),
                Panel(
                    "Consumer lag",
                    "Records behind the end of the log.",
                    "short",
                    ((f"sum by (agent, topic) ({m.CONSUMER_LAG.name})", "{{agent}} {{topic}}"),),
                ),
                Panel(
                    "Dead letters",
                    "Written in the last five minutes, by code.",
                    "short",
                    ((f"sum by (agent, code) (increase({m.DEAD_LETTERS.name}_total[5m]))", "{{agent}} {{code}}"),),
                ),
                Panel(
                    "Outbox",
                    "Records accepted but not yet in the log.",
                    "short",
                    ((f"max({m.OUTBOX_PENDING.name})", "pending"),),
                ),
            ),
        ),
        Row(
            "Fast",
            (
                Panel(
                    "Requests",
                    "Answered, by route and status.",
                    "reqps",
                    ((f"sum by (route, status) (rate({m.REQUEST_SECONDS.name}_count[5m]))", "{{route}} {{status}}"),),
                ),
                Panel(
                    "Latency p99", "By route.", "s", ((quantile(0.99, m.REQUEST_SECONDS, by=("route",)), "{{route}}"),)
                ),
                Panel(
                    "Search stages p99",
                    "Embedding, neighbours, re-ranking.",
                    "s",
                    ((quantile(0.99, m.SEARCH_SECONDS, by=("stage",)), "{{stage}}"),),
                ),
                Panel(
                    "Shed",
                    "Requests refused because a queue was full.",
                    "reqps",
                    ((_rate(m.REQUESTS_SHED, "route"), "{{route}}"),),
                ),
            ),
        ),
        Row(
            "Right",
            (
                Panel(
                    "Live recall",
                    "Sampled searches against exact ones.",
                    "percentunit",
                    ((mean(m.LIVE_RECALL, by=("index",)), "{{index}}"),),
                    threshold=0.95,
                ),
                Panel(
                    "Index",
                    "Items by state.",
                    "short",
                    ((f"max by (index, state) ({m.INDEX_ITEMS.name})", "{{index}} {{state}}"),),
                ),
                Panel(
                    "Removed by re-ranking",
                    "Candidates by reason.",
                    "ops",
                    ((_rate(m.SEARCH_REMOVED, "reason"), "{{reason}}"),),
                ),
                Panel(
                    "Clicks and impressions",
                    "Interactions counted, by kind.",
                    "ops",
                    ((_rate(m.INTERACTIONS, "kind"), "{{kind}}"),),
                ),
            ),
        ),
        Row(
            "Used",
            (
                Panel(
                    "Click-through rate",
                    "Clicks per impression in the trailing day, by surface.",
                    "percentunit",
                    ((f'max by (surface) ({m.ONLINE_CTR.name}{{window="day"}})', "{{surface}}"),),
                ),
                Panel(
                    "Time spent",
                    "Average per thing shown, in the trailing day, by surface.",
                    "s",
                    ((f'max by (surface) ({m.ONLINE_TIME_PER_IMPRESSION.name}{{window="day"}})', "{{surface}}"),),
                ),
                Panel(
                    "Features waiting",
                    "Items and users whose features changed and are not in the online store yet.",
                    "short",
                    ((f"sum({m.FEATURES_PENDING.name})", "pending"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW,)


def queries(dashboard: Dashboard) -> list[str]:
    """Return every PromQL query of a dashboard."""
    return [expr for row in dashboard.rows for panel in row.panels for expr, _ in panel.queries]


def to_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model (schema 39): a row header, then its panels side by side."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )
        width = 24 // len(row.panels)
        for column, panel in enumerate(row.panels):
            panels.append(_panel(panel, len(panels) + 1, {"x": column * width, "y": y + 1, "w": width, "h": 8}))
        y += 9
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["riverlight"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


def render(dashboard: Dashboard) -> str:
    """Return the provisioning file of a dashboard."""
    return json.dumps(to_grafana(dashboard), indent=2) + "\n"


def _panel(panel: Panel, panel_id: int, position: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.threshold is not None:
        steps.append({"color": "red", "value": panel.threshold})
    return {
        "id": panel_id,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": position,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if panel.threshold is not None else "off"}},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(panel.queries)
        ],
    }

"""Writes dashboards, and what Grafana needs to find them and their data, as Grafana's provisioning files.

The folder `infra/provisioning/grafana` is laid out as Grafana's own `provisioning` folder; mount it there.
"""

import json
from typing import Any

from monitoring.dashboards.panels import Dashboard, Limit, Panel

SCHEMA_VERSION = 39  # Grafana 10.2 and newer read it
DATASOURCE_UID = "riverlight-prometheus"
PROVISIONED_AT = "/etc/grafana/provisioning"
RUNBOOKS = "docs/runbooks"
_COLUMNS = 24
_HEIGHT = 8


def to_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model: for each row a header, then its panels side by side."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        header = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": []})
        panels[-1]["gridPos"] = header
        width = _COLUMNS // len(row.panels)
        for column, panel in enumerate(row.panels):
            position = {"x": column * width, "y": y + 1, "w": width, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, position))
        y += 1 + _HEIGHT
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["riverlight"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "annotations": {"list": [_alerts_as_annotations()]},
        "links": [
            {"title": "Riverlight", "type": "dashboards", "tags": ["riverlight"], "asDropdown": False, "keepTime": True}
        ],
        "templating": {
            "list": [
                {
                    "name": "runbooks",
                    "label": "Where the runbooks are",
                    "type": "textbox",
                    "query": RUNBOOKS,
                    "current": {"text": RUNBOOKS, "value": RUNBOOKS},
                    "hide": 2,
                }
            ]
        },
        "panels": panels,
    }


def render(dashboard: Dashboard) -> str:
    """Return the provisioning file of a dashboard."""
    return json.dumps(to_grafana(dashboard), indent=2) + "\n"


def render_datasource() -> str:
    """Return the file that names Prometheus as a data source; its URL is in the variable PROMETHEUS_URL."""
    source = {
        "name": "Prometheus",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": "${PROMETHEUS_URL}",
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": "5s", "httpMethod": "POST"},
    }
    return json.dumps({"apiVersion": 1, "datasources": [source]}, indent=2) + "\n"


def render_provider() -> str:
    """Return the file that tells Grafana where the dashboards are."""
    provider = {
        "name": "riverlight",
        "type": "file",
        "folder": "Riverlight",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 60,
        "options": {"path": f"{PROVISIONED_AT}/dashboards"},
    }
    return json.dumps({"apiVersion": 1, "providers": [provider]}, indent=2) + "\n"


def _panel(panel: Panel, panel_id: int, position: dict[str, int]) -> dict[str, Any]:
    runbook = f"${{runbooks}}/{panel.runbook}"
    return {
        "id": panel_id,
        "type": "timeseries",
        "title": panel.title,
        "description": f"{panel.description}\n\nRunbook: [{RUNBOOKS}/{panel.runbook}]({runbook})",
        "links": [{"title": f"Runbook: {panel.runbook}", "url": runbook, "targetBlank": True}],
        "gridPos": position,
        "datasource": {"type": "prometheus", "uid": DATASOURCE_UID},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                **({"min": 0} if panel.unit != "dateTimeFromNow" else {}),
                "thresholds": {"mode": "absolute", "steps": _steps(panel.limit)},
                "custom": {
                    "thresholdsStyle": {"mode": "line" if panel.limit else "off"},
                    "fillOpacity": 8,
                    "spanNulls": False,
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": {"type": "prometheus", "uid": DATASOURCE_UID},
                "expr": expr,
                "legendFormat": legend,
                "range": True,
            }
            for number, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _steps(limit: Limit | None) -> list[dict[str, Any]]:
    if limit is None:
        return [{"color": "green", "value": None}]
    below, above = ("green", "red") if limit.bad == "above" else ("red", "green")
    return [{"color": below, "value": None}, {"color": above, "value": limit.value}]


def _alerts_as_annotations() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": {"type": "prometheus", "uid": DATASOURCE_UID},
        "expr": 'ALERTS{alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "tagKeys": "severity",
        "step": "60s",
    }

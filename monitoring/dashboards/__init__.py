"""Grafana dashboards as code: data in one module each, written as Grafana's JSON by `monitoring.dashboards.grafana`."""

from monitoring.dashboards.drift import DRIFT
from monitoring.dashboards.moderation import MODERATION
from monitoring.dashboards.overview import OVERVIEW
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row, queries
from monitoring.dashboards.recommendation import RECOMMENDATION
from monitoring.dashboards.serving import SERVING
from monitoring.dashboards.streams import STREAMS
from monitoring.dashboards.visual_search import VISUAL_SEARCH

DASHBOARDS = (OVERVIEW, STREAMS, SERVING, VISUAL_SEARCH, RECOMMENDATION, MODERATION, DRIFT)

__all__ = ["DASHBOARDS", "Dashboard", "Limit", "Panel", "Row", "queries"]

"""What Prometheus computes by itself: recorded series, one or more for each promise, and the alerts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitoring import catalogue as m
from monitoring.alerts import ALERTS, ENFORCED
from monitoring.objectives import ANSWERED, OBJECTIVES, WINDOWS, series
from monitoring.promql import highest, increase, mean, observations, quantile, rate, summed


@dataclass(frozen=True)
class Recording:
    """One recorded series. `promise` is the row of the overview it belongs to (`monitoring.promises`)."""

    name: str
    expr: str
    promise: str


RECORDINGS = (
    Recording(
        "riverlight:searchable_seconds:p99",
        quantile(0.99, m.CANARY_FRESHNESS, by=("system",), where='effect="searchable"', window="10m"),
        "searchable",
    ),
    Recording(
        "riverlight:gone_seconds:p99",
        quantile(0.99, m.CANARY_FRESHNESS, by=("system",), where='effect="gone"', window="10m"),
        "gone",
    ),
    Recording(
        "riverlight:dead_letters:increase1h", increase(m.DEAD_LETTERS, by=("agent", "code"), window="1h"), "kept"
    ),
    Recording("riverlight:consumer_lag_records:sum", summed(m.CONSUMER_LAG, by=("agent",)), "kept"),
    Recording("riverlight:outbox_pending_records:max", highest(m.OUTBOX_PENDING), "kept"),
    Recording(
        "riverlight:http_request_seconds:p99",
        quantile(0.99, m.REQUEST_SECONDS, by=("route",), where='status=~"2.."'),
        "fast",
    ),
    Recording("riverlight:http_requests:rate5m", observations(m.REQUEST_SECONDS, by=("route",)), "answered"),
    Recording("riverlight:http_errors:ratio5m", ANSWERED.bad_share("5m"), "answered"),
    Recording("riverlight:live_recall_ratio:mean15m", mean(m.LIVE_RECALL, by=("index",)), "right"),
    Recording("riverlight:index_lag_records:max", highest(m.INDEX_LAG, by=("index",)), "right"),
    Recording(
        "riverlight:recommendations:rate5m", rate(m.RECOMMENDATIONS, by=("scored_by", "degraded")), "recommended"
    ),
    Recording(
        "riverlight:moderation_decision_seconds:p99",
        quantile(0.99, m.MODERATION_DECISION_SECONDS, window="10m"),
        "moderated",
    ),
    Recording(
        "riverlight:enforced_seconds:p99", quantile(0.99, m.VERDICT_SECONDS, where=ENFORCED, window="10m"), "enforced"
    ),
    Recording("riverlight:model_age_seconds", f"time() - {highest(m.MODEL_CREATED, by=('version',))}", "current"),
    Recording(
        "riverlight:feature_seconds:p99",
        quantile(0.99, m.FRESHNESS, by=("system",), where='effect="feature"', window="10m"),
        "current",
    ),
    Recording("riverlight:features_pending_rows:max", highest(m.FEATURES_PENDING), "current"),
    Recording("riverlight:memory_bytes:sum", "sum by (job) (process_resident_memory_bytes)", "means"),
    Recording("riverlight:cpu_cores:rate5m", "sum by (job) (rate(process_cpu_seconds_total[5m]))", "means"),
    Recording("riverlight:http_requests_shed:rate5m", rate(m.REQUESTS_SHED, by=("route",)), "means"),
)


def recording(name: str) -> Recording:
    """Return the recording of that name. Raises KeyError when there is none."""
    return next(one for one in RECORDINGS if one.name == name)


def rule_groups() -> dict[str, Any]:
    """Return the rule file as Prometheus reads it. Alerts on objectives come after what they are made of.

    Long windows are looked at less often: they change slowly and cost more. Never less than every few minutes, though,
    for after five without a value Prometheus takes a series for ended.
    """
    alerts = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.for_,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "runbook": f"docs/runbooks/{alert.runbook}"},
        }
        for alert in ALERTS
    ]
    return {
        "groups": [
            {"name": "riverlight-promises", "rules": [_recorded(one) for one in RECORDINGS]},
            {"name": "riverlight-objectives-short", "interval": "15s", "rules": _objectives(WINDOWS[:3])},
            {"name": "riverlight-objectives-long", "interval": "1m", "rules": _objectives(WINDOWS[3:])},
            {"name": "riverlight-alerts", "rules": alerts},
        ]
    }


def render() -> str:
    """Return the rule file. JSON is YAML, so no YAML library is needed to write it."""
    return json.dumps(rule_groups(), indent=2) + "\n"


def _objectives(windows: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"record": series(window), "expr": one.bad_share(window), "labels": {"objective": one.name}}
        for window in windows
        for one in OBJECTIVES
    ]


def _recorded(one: Recording) -> dict[str, Any]:
    return {"record": one.name, "expr": one.expr}

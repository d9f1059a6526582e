"""Recording and alert rules of Prometheus, as data; `render` writes the rule file."""

import json
from dataclasses import dataclass, field
from typing import Any

from monitoring.catalogue import (
    CANARY_FRESHNESS,
    CANARY_LAST_SUCCESS,
    CONSUMER_LAG,
    DEAD_LETTERS,
    LIVE_RECALL,
    Histogram,
)


@dataclass(frozen=True)
class Alert:
    """One alert. `runbook` is the page in `docs/runbooks/` that says what to do."""

    name: str
    expr: str
    for_: str
    severity: str
    summary: str
    runbook: str


@dataclass(frozen=True)
class Recording:
    """One recorded series."""

    name: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)


def quantile(q: float, metric: Histogram, *, by: tuple[str, ...] = (), window: str = "5m") -> str:
    """Return the PromQL for the q-quantile of a histogram, keeping the labels in `by`."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({metric.name}_bucket[{window}])))"


def mean(metric: Histogram, *, by: tuple[str, ...] = (), window: str = "15m") -> str:
    """Return the PromQL for the mean of a histogram's observations, keeping the labels in `by`."""
    labels = ", ".join(by)
    total, count = (f"sum by ({labels}) (rate({metric.name}_{part}[{window}]))" for part in ("sum", "count"))
    return f"{total} / {count}"


RECORDINGS = (
    Recording("riverlight:canary_freshness_seconds:p99", quantile(0.99, CANARY_FRESHNESS, by=("system", "effect"))),
)

ALERTS = (
    Alert(
        "FreshnessSlow",
        "riverlight:canary_freshness_seconds:p99 > 1",
        "5m",
        "page",
        "{{ $labels.system }}: p99 until {{ $labels.effect }} is over 1 s",
        "freshness.md",
    ),
    Alert(
        "CanarySilent",
        f"time() - {CANARY_LAST_SUCCESS.name} > 120",
        "1m",
        "page",
        "{{ $labels.system }}: no canary came through for two minutes",
        "freshness.md",
    ),
    Alert(
        "DeadLetters",
        f"sum by (agent, code) (increase({DEAD_LETTERS.name}_total[10m])) > 0",
        "0m",
        "ticket",
        "{{ $labels.agent }} wrote dead letters: {{ $labels.code }}",
        "dead-letters.md",
    ),
    Alert(
        "ConsumerStuck",
        f"min_over_time({CONSUMER_LAG.name}[2m]) > 0 and delta({CONSUMER_LAG.name}[2m]) >= 0",
        "2m",
        "page",
        "{{ $labels.agent }} is behind on {{ $labels.topic }} and not catching up",
        "consumer-stuck.md",
    ),
    Alert(
        "RecallLow",
        f"{mean(LIVE_RECALL, by=('index',))} < 0.95",
        "10m",
        "ticket",
        "live recall of the {{ $labels.index }} index is under 0.95",
        "recall.md",
    ),
)


def rule_groups() -> dict[str, Any]:
    """Return the rule file as Prometheus reads it."""
    recordings = [{"record": r.name, "expr": r.expr, **({"labels": r.labels} if r.labels else {})} for r in RECORDINGS]
    alerts = [
        {
            "alert": a.name,
            "expr": a.expr,
            "for": a.for_,
            "labels": {"severity": a.severity},
            "annotations": {"summary": a.summary, "runbook": f"docs/runbooks/{a.runbook}"},
        }
        for a in ALERTS
    ]
    return {"groups": [{"name": "riverlight", "rules": recordings + alerts}]}


def render() -> str:
    """Return the rule file. JSON is YAML, so no YAML library is needed to write it."""
    return json.dumps(rule_groups(), indent=2) + "\n"

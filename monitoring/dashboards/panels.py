"""What a dashboard is made of."""

from dataclasses import dataclass
from typing import Literal

#: Grafana's names of units.
Unit = Literal["s", "short", "percentunit", "reqps", "ops", "bytes", "dateTimeFromNow"]


@dataclass(frozen=True)
class Limit:
    """The line of a graph, and on which side of it things are wrong."""

    value: float
    bad: Literal["above", "below"] = "above"


@dataclass(frozen=True)
class Panel:
    """One graph. The title is a question, or a promise; `runbook` says what to do when the answer is a bad one.

    `queries` are PromQL with the legend of their series.
    """

    title: str
    description: str
    unit: Unit
    runbook: str
    queries: tuple[tuple[str, str], ...]
    limit: Limit | None = None


@dataclass(frozen=True)
class Row:
    """A titled row of panels, side by side."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page of rows."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def queries(dashboard: Dashboard) -> list[str]:
    """Return every PromQL query of a dashboard."""
    return [expr for row in dashboard.rows for panel in row.panels for expr, _ in panel.queries]

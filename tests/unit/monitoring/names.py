"""Which metrics a query uses, and whether they exist."""

import re

from monitoring import catalogue, objectives, others, rules

_NAME = re.compile(r"\b(?:riverlight_\w+|riverlight:[\w:]+|process_\w+|python_\w+|ray_\w+|up\b)")


def used_names(query: str) -> set[str]:
    """Return the series that a query asks for, as they are exposed or recorded."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', query)))


def unknown_names(query: str) -> set[str]:
    """Return the series that a query asks for and nobody exposes or records."""
    recorded = {one.name for one in rules.RECORDINGS} | {objectives.series(window) for window in objectives.WINDOWS}
    libraries = {name for metric in (*others.PROCESS, *others.RAY_SERVE, others.UP) for name in exposed_as(metric)}
    return used_names(query) - exposed_names() - recorded - libraries


def exposed_names() -> set[str]:
    """Return the names under which the catalogue's metrics are exposed."""
    return {name for metric in catalogue.all_metrics() for name in exposed_as(metric)}


def exposed_as(metric: catalogue.Metric) -> set[str]:
    """Return the names under which one metric is exposed."""
    match metric:
        case catalogue.Counter():
            return {metric.name + "_total"}
        case catalogue.Histogram():
            return {metric.name + part for part in ("_bucket", "_sum", "_count")}
    return {metric.name}

"""The few shapes of PromQL that rules and dashboards are made of."""

from collections.abc import Iterable

from monitoring.catalogue import Counter, Gauge, Histogram


def rate(metric: Counter, *, by: Iterable[str] = (), where: str = "", window: str = "5m") -> str:
    """Return the growth of a counter a second, summed over every label that is not in `by`."""
    return f"sum{_by(by)} (rate({metric.name}_total{_where(where)}[{window}]))"


def increase(metric: Counter, *, by: Iterable[str] = (), where: str = "", window: str = "10m") -> str:
    """Return how much a counter grew in the window, summed over every label that is not in `by`."""
    return f"sum{_by(by)} (increase({metric.name}_total{_where(where)}[{window}]))"


def grew(metric: Counter, *, by: Iterable[str], where: str = "", window: str = "10m") -> str:
    """Return a condition: a counter grew in the window, or appeared in it.

    A labelled counter begins to exist with its first event, at 1: `increase` sees no growth in that, and the first
    dead letter of a kind would go unnoticed.
    """
    series = f"{metric.name}_total{_where(where)}"
    return (
        f"{increase(metric, by=by, where=where, window=window)} > 0"
        f" or sum{_by(by)} ({series} unless {series} offset {window}) > 0"
    )


def quantile(q: float, metric: Histogram, *, by: Iterable[str] = (), where: str = "", window: str = "5m") -> str:
    """Return the q-quantile of a histogram, keeping the labels in `by`."""
    buckets = f"sum{_by(('le', *by))} (rate({metric.name}_bucket{_where(where)}[{window}]))"
    return f"histogram_quantile({q:g}, {buckets})"


def mean(metric: Histogram, *, by: Iterable[str] = (), where: str = "", window: str = "15m") -> str:
    """Return the mean of a histogram's observations, keeping the labels in `by`."""
    total, count = (f"sum{_by(by)} (rate({metric.name}_{part}{_where(where)}[{window}]))" for part in ("sum", "count"))
    return f"{total} / {count}"


def observations(metric: Histogram, *, by: Iterable[str] = (), where: str = "", window: str = "5m") -> str:
    """Return the observations of a histogram a second."""
    return f"sum{_by(by)} (rate({metric.name}_count{_where(where)}[{window}]))"


def within(bound: float, metric: Histogram, *, by: Iterable[str] = (), where: str = "", window: str = "5m") -> str:
    """Return the observations a second that were at most `bound`, which has to be a bucket of the histogram.

    Raises ValueError when it is none: the query would be silently empty.
    """
    if bound not in metric.buckets:
        raise ValueError(f"{bound:g} is no bucket of {metric.name}: {metric.buckets}")
    matchers = ",".join(part for part in (where, f'le="{float(bound)}"') if part)
    return f"sum{_by(by)} (rate({metric.name}_bucket{_where(matchers)}[{window}]))"


def highest(metric: Gauge, *, by: Iterable[str] = (), where: str = "") -> str:
    """Return the largest value of a gauge among the processes that report it."""
    return f"max{_by(by)} ({metric.name}{_where(where)})"


def summed(metric: Gauge, *, by: Iterable[str] = (), where: str = "") -> str:
    """Return the sum of a gauge over the processes that report it."""
    return f"sum{_by(by)} ({metric.name}{_where(where)})"


def stuck(metric: Gauge, *, window: str) -> str:
    """Return a condition: a backlog was above zero for the whole window and did not shrink."""
    return f"min_over_time({metric.name}[{window}]) > 0 and delta({metric.name}[{window}]) >= 0"


def _by(labels: Iterable[str]) -> str:
    joined = ", ".join(labels)
    return f" by ({joined})" if joined else ""


def _where(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""

"""Records values of the declared metrics into one Prometheus registry."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from core.release import release
from monitoring.catalogue import BUILD_INFO, Counter, Gauge, Histogram, Metric


class Recorder:
    """The one object through which a process records metrics.

    Made in an entry point and passed on. Label children are cached, because looking one up costs three times what
    incrementing it does. Thread-safe, as prometheus_client is.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, process_metrics: bool = False) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._families: dict[Metric, Any] = {}
        self._children: dict[tuple[Metric, tuple[tuple[str, str], ...]], Any] = {}
        self._making = threading.Lock()  # a registry takes a name once: two threads may be the first to use it
        if process_metrics:
            prometheus_client.ProcessCollector(registry=self.registry)
            prometheus_client.PlatformCollector(registry=self.registry)
            prometheus_client.GCCollector(registry=self.registry)
            self.set(BUILD_INFO, 1, version=release())

    def count(self, metric: Counter, amount: float = 1.0, **labels: str) -> None:
        """Add `amount` (not negative) to a counter."""
        self._child(metric, labels).inc(amount)

    def set(self, metric: Gauge, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(metric, labels).set(value)

    def observe(self, metric: Histogram, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        self._child(metric, labels).observe(value)

    @contextmanager
    def time(self, metric: Histogram, **labels: str) -> Iterator[None]:
        """Observe how long the block takes, in seconds, whether or not it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe(metric, time.perf_counter() - started, **labels)

    def track(self, metric: Gauge, read: Callable[[], float], **labels: str) -> None:
        """Let a gauge be read from `read` at each scrape."""
        self._child(metric, labels).set_function(read)

    def value(self, metric: Metric, **labels: str) -> float:
        """Return the current value of a counter or gauge, or the number of observations of a histogram."""
        name = {Counter: metric.name + "_total", Gauge: metric.name, Histogram: metric.name + "_count"}[type(metric)]
        return self.registry.get_sample_value(name, labels) or 0.0

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type, in the format that the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _child(self, metric: Metric, labels: dict[str, str]) -> Any:
        key = (metric, tuple(labels.items()))
        child = self._children.get(key)
        if child is None:
            with self._making:
                family = self._family(metric)
            child = family.labels(**labels) if metric.labels else family
            self._children[key] = child
        return child

    def _family(self, metric: Metric) -> Any:
        family = self._families.get(metric)
        if family is None:
            match metric:
                case Counter():
                    family = prometheus_client.Counter(metric.name, metric.help, metric.labels, registry=self.registry)
                case Gauge():
                    family = prometheus_client.Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
                case Histogram():
                    family = prometheus_client.Histogram(
                        metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry
                    )
            self._families[metric] = family
        return family

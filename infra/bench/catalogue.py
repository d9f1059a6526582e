"""Every benchmark there is. Each module is imported only when the list is asked for."""

from infra.bench.result import Benchmark


def benchmarks() -> tuple[Benchmark, ...]:
    """Return all benchmarks, in the order they are run: those without a running system first."""
    from infra.bench import (
        features,
        index,
        interactions,
        known_harm,
        recommendations,
        search_http,
        start,
        trained,
        uploads,
    )

    return (
        interactions.BENCHMARK,
        index.BENCHMARK,
        known_harm.BENCHMARK,
        features.BENCHMARK,
        recommendations.BENCHMARK,
        trained.BENCHMARK,
        uploads.BENCHMARK,
        search_http.BENCHMARK,
        start.BENCHMARK,
    )

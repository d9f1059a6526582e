"""Every benchmark there is. Each module is imported only when the list is asked for."""

from infra.bench.result import Benchmark


def benchmarks() -> tuple[Benchmark, ...]:
    """Return all benchmarks, in the order they are run: those without a running system first."""
    from infra.bench import (
        backtest,
        features,
        index,
        interactions,
        known_harm,
        learning,
        moderation,
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
        backtest.BENCHMARK,
        features.BENCHMARK,
        recommendations.BENCHMARK,
        trained.BENCHMARK,
        uploads.BENCHMARK,
        learning.BENCHMARK,
        moderation.BENCHMARK,
        search_http.BENCHMARK,
        start.BENCHMARK,
    )

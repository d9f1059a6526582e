"""Measuring every index kind on the same vectors, to choose one: `python -m models.index.compare --help`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, pack_vector
from core.settings import IndexSettings
from models.index.live import LiveIndex

KINDS = ("flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw")
_MODEL = "compare"


@dataclass(frozen=True)
class KindResult:
    """One index kind on one set of vectors. Times are of one thread."""

    kind: str
    recall_at_10: float
    search_p50_ms: float
    search_p99_ms: float
    build_s: float  # until the structure covers everything; the items can be searched long before
    bytes_per_vector: float  # vectors, structure, columns and metadata
    add_p50_ms: float
    add_p99_ms: float
    delete_p50_ms: float
    recall_at_10_after_changes: float  # a tenth of the items replaced, a twentieth deleted, background work done


def compare_kinds(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], settings: IndexSettings, kinds: Sequence[str] = KINDS
) -> list[KindResult]:
    """Measure each kind.

    Args:
        vectors: `(n, dim)` rows to index.
        queries: `(m, dim)` rows to search for; not among the indexed ones, or recall is flattered.
        settings: those of every kind; `kind` itself is replaced.
    """
    return [_measure(kind, vectors, queries, settings) for kind in kinds]


def clustered_vectors(n: int, dim: int, *, seed: int = 0, spread: float = 0.8) -> NDArray[np.float32]:
    """Return `(n, dim)` unit rows in overlapping clusters of uneven size.

    With `spread` 0.8 a row's own noise is almost as strong as its cluster (0.2 would be well-separated clusters, on
    which every kind looks perfect; 3 drowns them, as in random data).
    """
    rng = np.random.default_rng(seed)
    n_clusters = max(2, n // 100)
    centres = rng.standard_normal((n_clusters, dim))
    sizes = rng.pareto(1.5, n_clusters) + 0.2
    rows = centres[rng.choice(n_clusters, n, p=sizes / sizes.sum())] + spread * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def table(results: Sequence[KindResult]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| kind | recall@10 | p50 ms | p99 ms | build s | bytes/vector | add p50 / p99 ms | delete p50 ms "
        "| recall@10 after changes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.kind} | {r.recall_at_10:.3f} | {r.search_p50_ms:.2f} | {r.search_p99_ms:.2f} | {r.build_s:.1f} "
        f"| {r.bytes_per_vector:.0f} | {r.add_p50_ms:.3f} / {r.add_p99_ms:.3f} | {r.delete_p50_ms:.3f} "
        f"| {r.recall_at_10_after_changes:.3f} |"
        for r in results
    ]
    return "\n".join(lines)


def _measure(
    kind: str, vectors: NDArray[np.float32], queries: NDArray[np.float32], settings: IndexSettings
) -> KindResult:
    index = LiveIndex(vectors.shape[1], _MODEL, IndexSettings(**{**settings.model_dump(), "kind": kind}))
    try:
        started = time.perf_counter()
        adds = [_timed(index.apply, _entry(i, vectors[i], at=1)) for i in range(len(vectors))]
        index.settle(timeout_s=3600)
        build_s = time.perf_counter() - started
        bytes_per_vector = index.stats().bytes_per_vector
        recall, times = _search(index, queries)
        for i in range(0, len(vectors), 10):
            index.apply(_entry(i, queries[i % len(queries)] + 0.1 * vectors[i], at=2))
        deletes = [_timed(index.remove, f"item-{i}", Version(time_us=3, seq=0)) for i in range(5, len(vectors), 20)]
        index.settle(timeout_s=3600)
        changed, _ = _search(index, queries)
    finally:
        index.close()
    return KindResult(
        kind=kind,
        recall_at_10=recall,
        search_p50_ms=_percentile_ms(times, 50),
        search_p99_ms=_percentile_ms(times, 99),
        build_s=build_s,
        bytes_per_vector=bytes_per_vector,
        add_p50_ms=_percentile_ms(adds, 50),
        add_p99_ms=_percentile_ms(adds, 99),
        delete_p50_ms=_percentile_ms(deletes, 50),
        recall_at_10_after_changes=changed,
    )


def _search(index: LiveIndex, queries: NDArray[np.float32]) -> tuple[float, list[float]]:
    index.search(queries[0], 10)  # the first search of a thread sets it up
    found = 0
    wanted = 0
    times: list[float] = []
    for query in queries:
        started = time.perf_counter()
        hits = index.search(query, 10)
        times.append(time.perf_counter() - started)
        truth = {hit.entry.item_id for hit in index.search(query, 10, exact=True)}
        found += len(truth & {hit.entry.item_id for hit in hits})
        wanted += len(truth)
    return found / wanted, times


def _entry(i: int, vector: NDArray[np.float32], at: int) -> IndexEntry:
    return IndexEntry(
        item_id=f"item-{i}",
        version=Version(time_us=at, seq=0),
        media_id=f"{i:064x}",
        owner_id=f"owner-{i % 1000}",
        title=f"A title of ordinary length, number {i}",
        tags=[f"tag-{i % 50}", f"tag-{i % 7}"],
        category=f"category-{i % 20}",
        vector=pack_vector(vector),
        model_version=_MODEL,
        event_id=f"evt-{i:032x}",
    )


def _timed(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def _percentile_ms(times: list[float], percent: float) -> float:
    return float(np.percentile(times, percent)) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure every index kind on the same vectors.")
    parser.add_argument("--vectors", type=Path, help="an .npy file of (n, dim) float32 rows; made up when left out")
    parser.add_argument("--count", type=int, default=20_000, help="made-up rows (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=256, help="dimension of made-up rows (default: %(default)s)")
    parser.add_argument("--spread", type=float, default=0.8, help="noise of made-up rows (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=500, help="rows held back to search for (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds to measure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.vectors is not None:
        rows = np.load(options.vectors, allow_pickle=False).astype(np.float32)
    else:
        rows = clustered_vectors(options.count + options.queries, options.dim, seed=options.seed, spread=options.spread)
    held_back = np.random.default_rng(options.seed).permutation(len(rows))[: options.queries]
    vectors = np.delete(rows, held_back, axis=0)
    results = []
    for kind in options.kinds:
        results += compare_kinds(vectors, rows[held_back], IndexSettings(), [kind])
        sys.stderr.write(f"{asdict(results[-1])}\n")
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()

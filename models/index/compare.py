"""Measuring every index kind on the same vectors, to choose one: what `riverlight bench index` does."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, pack_vector
from core.errors import InvalidInput
from core.settings import IndexSettings
from models.index.live import LiveIndex
from models.index.recall import recall_at_k
from models.index.vector_files import exact_neighbours

KINDS = ("flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw")
MODEL = "compare"

_BACKGROUND_TIMEOUT_S = 3 * 3600.0
_CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class KindResult:
    """One index kind on one set of vectors. Times are of one thread; `k` is how many neighbours were asked for."""

    kind: str
    k: int
    recall: float
    search_p50_ms: float
    search_p99_ms: float
    searches_per_s: float
    build_s: float  # until the structure covers everything; the items can be searched long before
    bytes_per_vector: float  # in memory: codes, structure, columns and ids
    disk_bytes_per_vector: float  # vectors and metadata
    add_p50_ms: float
    add_p99_ms: float
    delete_p50_ms: float
    delete_p99_ms: float
    recall_after_changes: float  # a tenth of the items replaced, a twentieth deleted, background work done


def compare_kinds(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    settings: IndexSettings,
    kinds: Sequence[str] = KINDS,
    *,
    k: int = 10,
) -> Iterator[KindResult]:
    """Measure each kind, and return each result when it is there.

    Args:
        vectors: `(n, dim)` rows of length 1 to index.
        queries: `(m, dim)` rows of length 1 to search for; not among the indexed ones, or recall is flattered.
        settings: those of every kind; `kind` itself is replaced.

    Raises:
        InvalidInput: an unknown kind, `k` is not in 1 to n, or the queries do not have the vectors' dimension.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InvalidInput(f"there is no index kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    if not 1 <= k <= len(vectors):
        raise InvalidInput(f"k must be from 1 to the number of vectors, {len(vectors)}; got {k}")
    if queries.shape[1] != vectors.shape[1]:
        raise InvalidInput(f"the queries have {queries.shape[1]} dimensions, the vectors {vectors.shape[1]}")
    parts = (vectors[start : start + _CHUNK_ROWS] for start in range(0, len(vectors), _CHUNK_ROWS))
    truth = exact_neighbours(parts, queries, k)
    return (
        _measure(vectors, queries, truth, IndexSettings(**{**settings.model_dump(), "kind": kind})) for kind in kinds
    )


def made_up_entry(number: int, vector: NDArray[np.float32], at: int) -> IndexEntry:
    """Return an entry with metadata of ordinary size; `at` is its version."""
    return IndexEntry(
        item_id=f"item-{number}",
        version=Version(time_us=at, seq=0),
        media_id=f"{number:064x}",
        owner_id=f"owner-{number % 1000}",
        title=f"A title of ordinary length, number {number}",
        tags=[f"tag-{number % 50}", f"tag-{number % 7}"],
        category=f"category-{number % 20}",
        vector=pack_vector(vector),
        model_version=MODEL,
        event_id=f"evt-{number:032x}",
    )


def _measure(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], truth: NDArray[np.int64], settings: IndexSettings
) -> KindResult:
    n, k = len(vectors), truth.shape[1]
    index = LiveIndex(vectors.shape[1], MODEL, settings)
    try:
        started = time.perf_counter()
        adds = [_timed(index.apply, made_up_entry(i, vectors[i], at=1)) for i in range(n)]
        index.settle(_BACKGROUND_TIMEOUT_S)
        build_s = time.perf_counter() - started
        stats = index.stats()
        index.search(queries[0], k)  # the first search of a thread sets it up
        times: list[float] = []
        found = 0
        for query, wanted in zip(queries, truth, strict=True):
            began = time.perf_counter()
            hits = index.search(query, k)
            times.append(time.perf_counter() - began)
            found += len({f"item-{number}" for number in wanted} & {hit.entry.item_id for hit in hits})
        for i in range(0, n, 10):
            index.apply(made_up_entry(i, queries[i % len(queries)] + 0.1 * vectors[i], at=2))
        deletes = [_timed(index.remove, f"item-{i}", Version(time_us=3, seq=0)) for i in range(5 % n, n, 20)]
        index.settle(_BACKGROUND_TIMEOUT_S)
        changed = [_recall(index, query, k) for query in queries]
    finally:
        index.close()
    return KindResult(
        kind=settings.kind,
        k=k,
        recall=found / truth.size,
        search_p50_ms=_percentile_ms(times, 50),
        search_p99_ms=_percentile_ms(times, 99),
        searches_per_s=len(times) / sum(times),
        build_s=build_s,
        bytes_per_vector=stats.bytes_per_vector,
        disk_bytes_per_vector=stats.disk_bytes / max(1, stats.rows),
        add_p50_ms=_percentile_ms(adds, 50),
        add_p99_ms=_percentile_ms(adds, 99),
        delete_p50_ms=_percentile_ms(deletes, 50),
        delete_p99_ms=_percentile_ms(deletes, 99),
        recall_after_changes=float(np.mean(changed)),
    )


def _recall(index: LiveIndex, query: NDArray[np.float32], k: int) -> float:
    found = [(hit.entry.item_id, hit.score) for hit in index.search(query, k)]
    return recall_at_k(found, index.search(query, k, exact=True), k)


def _timed(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def _percentile_ms(times: list[float], percent: float) -> float:
    return float(np.percentile(times, percent)) * 1000

"""Search in an index of up to a million vectors while items are added and deleted, beside plain FAISS indexes.

Each index is built in a process of its own, whose memory is then the index's; they are searched in turns.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import Unavailable
from infra.bench.index_subject import K
from infra.bench.result import Bar, Benchmark, BenchOptions, BenchResult, Curve, Measurement, bar, compare
from models.index.vector_files import clustered_chunks, exact_neighbours

ROOT = Path(__file__).resolve().parents[2]
OURS, GRAPH = "ivf_sq8", "hnsw"
PLAIN_GRAPH = "faiss HNSW32"
BASELINES = ("faiss Flat", "faiss IVF-Flat", PLAIN_GRAPH)
ADDED_PER_SECOND = 100
P99_MS, RECALL, MEMORY_MB = 10.0, 0.95, 700.0
OVERLAP, HARD = 0.8, 3.0

_QUERIES = 1_000
_SPARE_TRUTH = 30  # true neighbours kept beyond K, because some are deleted while searches run


@dataclass(frozen=True)
class _Scale:
    sizes: tuple[int, ...]
    hard_size: int
    dim: int
    seconds: float  # of searching while items are added, each round
    exact_queries: int  # of a full scan, each round: it is slow
    graph_up_to: int  # vectors: growing a graph of a million takes longer than everything else together

    def baselines(self, n: int) -> tuple[str, ...]:
        """Return the plain indexes that are built for `n` vectors."""
        return tuple(name for name in BASELINES if name != PLAIN_GRAPH or n <= self.graph_up_to)


FULL = _Scale((10_000, 100_000, 1_000_000), 100_000, 384, 20.0, 100, graph_up_to=100_000)
QUICK = _Scale((1_000, 6_000), 6_000, 32, 1.0, 50, graph_up_to=1_000)


def run(options: BenchOptions) -> BenchResult:
    """Build and search every index at every size; the bars are for the largest."""
    scale = QUICK if options.quick else FULL
    repeats = 1 if options.quick else options.repeats
    found = {
        size: _measure(size, OVERLAP, (OURS, *scale.baselines(size)), scale, repeats, options) for size in scale.sizes
    }
    hard = _measure(scale.hard_size, HARD, (OURS, GRAPH), scale, repeats, options)
    largest = scale.sizes[-1]
    label = f"{largest:,} × {scale.dim}"
    measurements = _measurements(found[largest], label)
    names = {measurement.name for measurement in measurements}
    return BenchResult(
        name="index",
        title="Vector search while items are added",
        command="riverlight bench run index",
        measurements=measurements,
        comparisons=tuple(
            compare(measurements, f"{figure}, {label}", f"{figure}, {baseline}")
            for figure in ("search p50", "search p99", "memory")
            for baseline in BASELINES
            if f"{figure}, {baseline}" in names
        ),
        bars=_bars(measurements, label),
        curves=_curves(found, scale.sizes),
        details={
            "sizes": {str(size): found[size] for size in scale.sizes},
            "hard": {"size": scale.hard_size, "spread": HARD, "found": hard},
        },
        notes=_notes(scale, hard),
    )


def write_data(folder: Path, n: int, extra: int, dim: int, spread: float) -> None:
    """Write `n` rows to index and `extra` to add, queries that are neither, and the queries' true neighbours.

    The neighbours are found exactly, over the vectors before they are rounded to 16 bits.
    """
    chunks = clustered_chunks(_QUERIES + n + extra, dim, seed=20261122, spread=spread)
    first = next(chunks)
    while len(first) < _QUERIES:
        first = np.concatenate([first, next(chunks)])
    queries = first[:_QUERIES]

    def indexed() -> Iterator[NDArray[np.float32]]:
        left = n
        with (folder / "vectors.f16").open("wb") as file:
            for chunk in chain([first[_QUERIES:]], chunks):
                file.write(chunk.astype("<f2").tobytes())
                if left and len(chunk):
                    yield chunk[:left]
                    left -= min(left, len(chunk))

    truth = exact_neighbours(indexed(), queries, K + _SPARE_TRUTH)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", truth)
    (folder / "data.json").write_text(json.dumps({"n": n, "dim": dim}))


def _measure(
    n: int, spread: float, names: Sequence[str], scale: _Scale, repeats: int, options: BenchOptions
) -> dict[str, Any]:
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="index-", dir=options.folder))
    try:
        options.report(f"{n:,} vectors, noise {spread:g}: making them and finding the true neighbours")
        extra = int((scale.seconds + 2) * ADDED_PER_SECOND * (repeats + 1))
        write_data(folder, n, extra, scale.dim, spread)
        with ExitStack() as stack:
            subjects: dict[str, _Process] = {}
            found: dict[str, Any] = {}
            for name in names:
                subject = stack.enter_context(_process(name, folder))
                built = subject.answer()
                options.report(f"{name}: built in {built['build_s']:.0f} s, {_mb(built):.0f} MB")
                subjects[name], found[name] = subject, {"built": built, "quiet": [], "adding": []}
            for _ in range(repeats):
                for name, subject in subjects.items():
                    count = scale.exact_queries if name == "faiss Flat" else _QUERIES
                    found[name]["quiet"].append(subject.ask({"do": "search", "count": count}))
                    if not name.startswith("faiss "):
                        answer = subject.ask({"do": "add", "seconds": scale.seconds, "per_second": ADDED_PER_SECOND})
                        found[name]["adding"].append(answer)
                        options.report(
                            f"{name}: p99 {answer['p99_ms']:.2f} ms and recall {answer['recall']:.3f} "
                            f"while {answer['added_per_s']:.0f} a second are added"
                        )
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Process:
    """An `index_subject` that waits for questions."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name = name
        self._process = process

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable(f"the index {self._name!r} ended (exit status {self._process.wait()}); see above")
        return json.loads(line)


@contextmanager
def _process(name: str, folder: Path) -> Iterator[_Process]:
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.bench.index_subject", name, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        yield _Process(name, process)
    finally:
        process.kill()
        process.communicate()


def _mb(built: dict[str, Any]) -> float:
    return built["memory_mb"] - built["before_mb"]


def _measurements(found: dict[str, Any], label: str) -> tuple[Measurement, ...]:
    ours = found[OURS]
    baselines = [name for name in BASELINES if name in found]
    before = ours["built"]["before_mb"]
    adding = f"while {ADDED_PER_SECOND} a second are added, {label}"
    held = tuple(mb - before for mb in _each(ours, "adding", "memory_mb"))
    taken = [
        Measurement(f"search p99 {adding}", "ms", "lower", _each(ours, "adding", "p99_ms")),
        Measurement(f"search p50 {adding}", "ms", "lower", _each(ours, "adding", "p50_ms")),
        Measurement(f"search CPU time p99 {adding}", "ms", "lower", _each(ours, "adding", "cpu_p99_ms")),
        Measurement(f"recall@{K} {adding}", "", "higher", _each(ours, "adding", "recall")),
        Measurement(f"memory {adding}", "MB", "lower", held),
        Measurement(f"recall@{K}, {label}", "", "higher", _each(ours, "quiet", "recall")),
        Measurement(f"memory, {label}", "MB", "lower", (_mb(ours["built"]),)),
        Measurement(f"build, {label}", "s", "lower", (ours["built"]["build_s"],)),
    ]
    for figure, key in (("search p50", "p50_ms"), ("search p99", "p99_ms")):
        taken.append(Measurement(f"{figure}, {label}", "ms", "lower", _each(ours, "quiet", key)))
        taken += [
            Measurement(f"{figure}, {baseline}", "ms", "lower", _each(found[baseline], "quiet", key))
            for baseline in baselines
        ]
    for baseline in baselines:
        taken.append(Measurement(f"memory, {baseline}", "MB", "lower", (_mb(found[baseline]["built"]),)))
        taken.append(Measurement(f"recall@{K}, {baseline}", "", "higher", _each(found[baseline], "quiet", "recall")))
    return tuple(taken)


def _bars(measurements: Sequence[Measurement], label: str) -> tuple[Bar, ...]:
    while_adding = f"while {ADDED_PER_SECOND} a second are added, {label}"
    return (
        bar(measurements, f"search p99 {while_adding}", P99_MS),
        bar(measurements, f"recall@{K} {while_adding}", RECALL),
        bar(measurements, f"memory {while_adding}", MEMORY_MB),
    )


def _curves(found: dict[int, dict[str, Any]], sizes: Sequence[int]) -> tuple[Curve, ...]:
    def line(name: str, part: str, key: str) -> tuple[float | None, ...]:
        return tuple(
            float(np.median(_each(found[size][name], part, key))) if name in found[size] else None for size in sizes
        )

    def built(name: str, of: str) -> tuple[float | None, ...]:
        return tuple(_built(found[size][name]["built"], of, size) if name in found[size] else None for size in sizes)

    x = tuple(float(size) for size in sizes)
    everyone = (OURS, *BASELINES)
    adding = f"{OURS} while items are added"

    def curve(title: str, y_label: str, key: str) -> Curve:
        series = {adding: line(OURS, "adding", key)} | {name: line(name, "quiet", key) for name in everyone}
        return Curve(title, "vectors", y_label, x, series)

    return (
        curve("Search time, median", "ms", "p50_ms"),
        curve("Search time, 99 of 100", "ms", "p99_ms"),
        curve(f"Recall@{K}", "share", "recall"),
        Curve("Memory", "vectors", "bytes a vector", x, {name: built(name, "memory") for name in everyone}),
        Curve("Time to build", "vectors", "s", x, {name: built(name, "build_s") for name in everyone}),
    )


def _notes(scale: _Scale, hard: dict[str, Any]) -> tuple[str, ...]:
    told = [
        f"{name}: recall@{K} {np.median(_each(hard[name], 'adding', 'recall')):.3f}, "
        f"p99 {np.median(_each(hard[name], 'adding', 'p99_ms')):.2f} ms"
        for name in (OURS, GRAPH)
    ]
    return (
        f"Made-up vectors of {scale.dim} dimensions: a cluster for each 100, of uneven size (the largest holds some "
        f"per cent), noise {OVERLAP:g} times as strong as the centres. True neighbours by exact search over them.",
        "Memory is the anonymous memory of the process less what it was before the index: codes, structure, columns, "
        "ids, the buffer of new items. Vectors and metadata are in files, read through the page cache.",
        f"One thread searches without a pause; another adds {ADDED_PER_SECOND} items a second and deletes a tenth as "
        "many; the index's background thread seals and merges. True neighbours while items are added count what had "
        "been added and deleted when the search began.",
        f"The FAISS baselines hold float32 vectors and nothing else, are not changed while searched, and were built "
        f"with every core; HNSW searches with ef 128, IVF-Flat with the fewest lists (8, 16, …) that reach {RECALL:g}.",
        f"{PLAIN_GRAPH} is built up to {scale.graph_up_to:,} vectors only.",
        f"Clusters drowned in noise ({HARD:g}), {scale.hard_size:,} vectors: {'; '.join(told)}.",
    )


def _built(answer: dict[str, Any], of: str, size: int) -> float:
    return float(answer["build_s"]) if of == "build_s" else 1e6 * _mb(answer) / size


def _each(found: dict[str, Any], part: str, key: str) -> tuple[float, ...]:
    return tuple(answer[key] for answer in found[part])


BENCHMARK = Benchmark("index", "Vector search while items are added", run)

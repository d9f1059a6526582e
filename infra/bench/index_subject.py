"""One index in a process of its own, so that its memory can be told from everything else's.

`python -m infra.bench.index_subject NAME FOLDER` builds the index NAME over the data in FOLDER, prints what that took
as one line of JSON, and then answers each line of JSON on standard input with another. Run by infra/bench/index.py.
"""

import gc
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import faiss as typed_faiss
import numpy as np
import psutil
from numpy.typing import NDArray

from core.entries import Version
from core.settings import IndexSettings
from models.index import LiveIndex
from models.index.compare import MODEL, made_up_entry
from models.index.vector_files import exact_neighbours

faiss: Any = typed_faiss

K = 10
HNSW_LINKS, HNSW_EF = 32, 128
_CHUNK_ROWS = 20_000
_RECALL_WANTED = 0.95


@dataclass(frozen=True)
class Data:
    """What infra/bench/index.py wrote: `n` rows to index, more to add later, queries, and their true neighbours."""

    folder: Path
    n: int
    dim: int

    @classmethod
    def at(cls, folder: Path) -> "Data":
        described = json.loads((folder / "data.json").read_text())
        return cls(folder, described["n"], described["dim"])

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        width = 2 * self.dim
        with (self.folder / "vectors.f16").open("rb") as file:
            file.seek(start * width)
            data = file.read((stop - start) * width)
        return np.frombuffer(data, dtype="<f2").reshape(-1, self.dim).astype(np.float32)

    def queries(self) -> NDArray[np.float32]:
        return np.load(self.folder / "queries.npy", allow_pickle=False)

    def truth(self) -> NDArray[np.int64]:
        """Return the numbers of the true neighbours, more than `K` of them because some will be deleted."""
        return np.load(self.folder / "truth.npy", allow_pickle=False)


class Subject(Protocol):
    """An index under test."""

    def build(self, data: Data) -> None: ...

    def search(self, query: NDArray[np.float32]) -> list[int]: ...

    def describe(self) -> dict[str, Any]: ...


class Live:
    """The live index of this project."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def build(self, data: Data) -> None:
        self.index = LiveIndex(data.dim, MODEL, IndexSettings(kind=self._kind), folder=data.folder / self._kind)
        for start in range(0, data.n, 1_000):
            for number, row in enumerate(data.rows(start, min(start + 1_000, data.n)), start):
                self.index.apply(made_up_entry(number, row, at=1))
        self.index.settle(3 * 3600)

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return [int(hit.entry.item_id.removeprefix("item-")) for hit in self.index.search(query, K)]

    def describe(self) -> dict[str, Any]:
        stats = self.index.stats()
        return {
            "bytes_per_vector": stats.bytes_per_vector,
            "disk_bytes": stats.disk_bytes,
            "segments": stats.segments,
            "probe": stats.probe,
            "rebuilds": stats.rebuilds,
            "error": stats.last_rebuild_error,
        }


class Plain:
    """A FAISS index as it comes: no ids, no metadata, no filters, nothing can be added while it is searched."""

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, data: Data) -> None:
        faiss.omp_set_num_threads(os.cpu_count() or 1)  # building is not what is compared
        if self._name == "faiss HNSW32":
            self._index = faiss.IndexHNSWFlat(data.dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efSearch = HNSW_EF
        elif self._name == "faiss IVF-Flat":
            lists = max(1, min(int(4 * np.sqrt(data.n)), data.n // 40, 2_500))
            self._coarse = faiss.IndexFlatIP(data.dim)
            self._index = faiss.IndexIVFFlat(self._coarse, data.dim, lists, faiss.METRIC_INNER_PRODUCT)
            self._index.train(data.rows(0, min(data.n, 40 * lists)))
        else:
            self._index = faiss.IndexFlatIP(data.dim)
        for start in range(0, data.n, _CHUNK_ROWS):
            self._index.add(data.rows(start, min(start + _CHUNK_ROWS, data.n)))
        faiss.omp_set_num_threads(1)
        if self._name == "faiss IVF-Flat":
            self._probe_until_good_enough(data)

    def search(self, query: NDArray[np.float32]) -> list[int]:
        return self._index.search(query[None, :], K)[1][0].tolist()

    def describe(self) -> dict[str, Any]:
        return {"probe": getattr(self._index, "nprobe", None)}

    def _probe_until_good_enough(self, data: Data) -> None:
        queries, truth = data.queries(), data.truth()[:, :K]
        self._index.nprobe = 8
        while self._index.nprobe < self._index.nlist:
            _, found = self._index.search(queries, K)
            good = sum(len(set(ours) & set(true)) for ours, true in zip(found.tolist(), truth.tolist(), strict=True))
            if good >= _RECALL_WANTED * truth.size:
                return
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)


@dataclass
class Changed:
    """What rounds of adding and deleting have made of the index since it was built."""

    added: int = 0
    gone: set[int] = field(default_factory=set)


def search_quietly(subject: Subject, data: Data, count: int, before: Changed) -> dict[str, Any]:
    """Search for the first `count` queries, one after the other; `before` tells what was changed since the build."""
    queries, extra = data.queries()[:count], data.rows(data.n, data.n + before.added)
    subject.search(queries[0])
    took, used, found = [], [], 0
    for which, query in enumerate(queries):
        began, cpu = time.perf_counter(), time.thread_time()
        numbers = subject.search(query)
        used.append(time.thread_time() - cpu)
        took.append(time.perf_counter() - began)
        found += len(set(numbers) & _true_now(data, which, extra, before.gone))
    return _summary(took, used) | {"recall": found / (len(queries) * K), "memory_mb": resident_mb()}


def search_while_adding(subject: Live, data: Data, seconds: float, per_second: int, before: Changed) -> dict[str, Any]:
    """Search without a pause while another thread adds `per_second` items a second and deletes a tenth as many.

    `before` tells what earlier calls changed, and is brought up to date.
    """
    added_before, first = before.added, data.n + before.added
    every_extra = data.rows(data.n, first + int(seconds * per_second) + per_second)
    extra = every_extra[added_before:]
    shuffled = np.random.default_rng(added_before).permutation(data.n).tolist()
    doomed = [number for number in shuffled if number not in before.gone][: len(extra)]
    done = {"added": 0, "removed": 0}
    stop = threading.Event()
    late: list[float] = []

    def add() -> None:
        began = time.perf_counter()
        for i, row in enumerate(extra):
            wait = began + i / per_second - time.perf_counter()
            if (wait > 0 and stop.wait(wait)) or stop.is_set():
                return
            late.append(max(0.0, -wait))
            subject.index.apply(made_up_entry(first + i, row, at=1))
            done["added"] = i + 1
            if i % 10 == 0:
                subject.index.remove(f"item-{doomed[i // 10]}", Version(time_us=10, seq=added_before))
                done["removed"] = i // 10 + 1

    queries = data.queries()
    subject.search(queries[0])
    adder = threading.Thread(target=add)
    took: list[float] = []
    used: list[float] = []
    seen: list[tuple[list[int], tuple[int, int]]] = []
    adder.start()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        which = len(took) % len(queries)
        state = done["added"], done["removed"]
        began, cpu = time.perf_counter(), time.thread_time()
        numbers = subject.search(queries[which])
        used.append(time.thread_time() - cpu)
        took.append(time.perf_counter() - began)
        if len(seen) < len(queries):
            seen.append((numbers, state))
    stop.set()
    adder.join()
    good = [
        len(set(numbers) & _true_now(data, which, every_extra[: added_before + new], before.gone | set(doomed[:gone])))
        for which, (numbers, (new, gone)) in enumerate(seen)
    ]
    before.added += done["added"]
    before.gone |= set(doomed[: done["removed"]])
    return _summary(took, used) | {
        "recall": sum(good) / (K * len(good)),
        "searches": len(took),
        "added": done["added"],
        "removed": done["removed"],
        "added_per_s": done["added"] / seconds,
        "add_late_p99_ms": 1000 * float(np.percentile(late, 99)),
        "memory_mb": resident_mb(),
    }


def resident_mb() -> float:
    """Return the memory that this process holds and no other can have.

    Pages of files (the code of libraries, rows that searches touched) are left out where the system tells them apart:
    it takes them back whenever something else needs the memory.
    """
    gc.collect()
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return float(psutil.Process().memory_info().rss) / 1e6
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) * 1024 / 1e6


def _true_now(data: Data, which: int, added: NDArray[np.float32], gone: set[int]) -> set[int]:
    """Return the exact neighbours of a query among what was there when it was searched for: `added` since the build."""
    query = data.queries()[which]
    numbers = [number for number in data.truth()[which].tolist() if number not in gone]
    rows = np.concatenate([*(data.rows(number, number + 1) for number in numbers), added])
    numbers += range(data.n, data.n + len(added))
    [best] = exact_neighbours(iter([rows]), query[None, :], K)
    return {numbers[place] for place in best}


def _summary(took: list[float], used: list[float]) -> dict[str, Any]:
    return {
        "p50_ms": 1000 * float(np.percentile(took, 50)),
        "p99_ms": 1000 * float(np.percentile(took, 99)),
        "cpu_p50_ms": 1000 * float(np.percentile(used, 50)),
        "cpu_p99_ms": 1000 * float(np.percentile(used, 99)),
        "per_s": len(took) / sum(took),
    }


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    data = Data.at(folder)
    faiss.omp_set_num_threads(1)
    subject: Subject = Plain(name) if name.startswith("faiss ") else Live(name)
    before = resident_mb()
    began = time.perf_counter()
    subject.build(data)
    built = {"build_s": time.perf_counter() - began, "before_mb": before, "memory_mb": resident_mb()}
    _say(built | subject.describe())
    changed = Changed()
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "search":
            answer = search_quietly(subject, data, asked["count"], changed)
        else:
            assert isinstance(subject, Live)
            answer = search_while_adding(subject, data, asked["seconds"], asked["per_second"], changed)
        _say(answer | subject.describe())


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

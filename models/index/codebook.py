"""What the `ivf_*` kinds learn from a sample, once for the whole index: cluster centres, code ranges, how far to look.

Segments share a codebook. So a query is compared with the centres once, and merging segments needs no training: the
cluster of a row is known, and its code is computed again from its vector.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import faiss as typed_faiss
import numpy as np
from numpy.typing import NDArray

from core.settings import IndexSettings
from models.index.vector_files import exact_neighbours

faiss: Any = typed_faiss  # the stubs do not know the constructors' keyword arguments

KINDS = ("ivf_flat", "ivf_sq8", "ivf_pq")
Chunks = Callable[[], Iterable[NDArray[np.float16] | NDArray[np.float32]]]  # rows in order, `(m, dim)` at a time

SAMPLE_PER_LIST = 40  # FAISS asks for 39; more moves the centres little and costs memory while training

_SEED = 20260101
_PQ_BITS = 8
_ITERATIONS = 10
_PROBE_QUERIES = 256
_NEIGHBOURS = 10
_RETRAIN_GROWTH = 4
_MEASURE_GROWTH = 1.5


def lists_for(n_rows: int, settings: IndexSettings) -> int:
    """Return how many clusters an index of `n_rows` gets."""
    wanted = settings.ivf_lists or int(4 * np.sqrt(n_rows))
    return max(1, min(wanted, n_rows // 39 or 1))


class Codebook:
    """A trained, empty FAISS inverted-list index, and how many of its lists to search."""

    def __init__(self, kind: str, dim: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """`arrays` are those of `train` or of `arrays()`."""
        self.kind = kind
        self.dim = dim
        self.trained_rows = int(arrays["trained_rows"])
        self.measured_rows = int(arrays["measured_rows"])
        self.probe = int(arrays["probe"])
        self._centres = arrays["centres"]
        self._codes = arrays["codes"]
        self._coarse = faiss.IndexFlatIP(dim)
        self._coarse.add(self._centres)
        self.id = hashlib.sha256(self._centres.tobytes() + self._codes.tobytes()).hexdigest()[:16]

    @classmethod
    def train(cls, chunks: Chunks, n_rows: int, dim: int, settings: IndexSettings) -> "Codebook":
        """Learn from a sample of an index's `n_rows` vectors.

        `chunks` goes through all of them each time it is called: the sample is drawn evenly, and what decides how far
        to look is where the true neighbours of some rows are, among all.
        """
        numbers = _some_of(n_rows, max(1_024, SAMPLE_PER_LIST * lists_for(n_rows, settings)))
        sample = _take(chunks, numbers, dim)
        lists = max(1, min(lists_for(n_rows, settings), len(sample)))
        clustering = faiss.Clustering(dim, lists)
        clustering.seed, clustering.niter, clustering.spherical = _SEED, _ITERATIONS, True
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, SAMPLE_PER_LIST
        coarse = faiss.IndexFlatIP(dim)
        clustering.train(sample, coarse)
        centres = coarse.reconstruct_n(0, lists)
        kind = settings.kind
        if kind == "ivf_pq" and len(sample) < 2**_PQ_BITS:
            kind = "ivf_sq8"  # too few rows to learn product codes from
        index = _index(kind, coarse, dim, lists, _parts(dim, settings))
        index.train(sample)
        arrays = {
            "centres": centres,
            "codes": _codes_of(kind, index, _parts(dim, settings)),
            "trained_rows": np.int64(n_rows),
            "measured_rows": np.int64(n_rows),
            "probe": np.int64(settings.ivf_probe or lists),
        }
        codebook = cls(kind, dim, arrays)
        codebook.measure(chunks, n_rows, settings)
        return codebook

    def measure(self, chunks: Chunks, n_rows: int, settings: IndexSettings) -> None:
        """Find out again how many lists to search: as an index grows denser, neighbours are nearer, and fewer do."""
        if not settings.ivf_probe:
            self.probe = _probe_for(chunks, n_rows, self._coarse, settings.ivf_recall)
        self.measured_rows = n_rows

    @property
    def lists(self) -> int:
        return len(self._centres)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what makes the same codebook again."""
        return {
            "centres": self._centres,
            "codes": self._codes,
            "trained_rows": np.array(self.trained_rows),
            "measured_rows": np.array(self.measured_rows),
            "probe": np.array(self.probe),
        }

    def outgrown(self, n_rows: int) -> bool:
        """Tell whether the index has grown so much that it deserves more clusters."""
        return n_rows >= _RETRAIN_GROWTH * self.trained_rows

    def stale(self, n_rows: int) -> bool:
        """Tell whether the index has grown so much that `measure` may find fewer lists to do."""
        return n_rows >= _MEASURE_GROWTH * self.measured_rows

    def nearest(self, query: NDArray[np.float32], probe: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the similarities and numbers of the `probe` clusters nearest to a query, each `(1, probe)`."""
        scores, lists = self._coarse.search(query[None, :], probe)
        return scores, lists

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the cluster of each row."""
        _, lists = self._coarse.search(vectors, 1)
        return lists[:, 0].astype(np.int32)

    def empty_index(self) -> Any:
        """Return a FAISS index that knows what was learnt and holds nothing; it refers to this codebook's centres."""
        parts = self._codes.shape[0] if self.kind == "ivf_pq" else 1
        index = _index(self.kind, self._coarse, self.dim, self.lists, parts)
        if self.kind == "ivf_sq8":
            faiss.copy_array_to_vector(self._codes, index.sq.trained)
        elif self.kind == "ivf_pq":
            faiss.copy_array_to_vector(self._codes.ravel(), index.pq.centroids)
        index.is_trained = True
        return index

    def size_bytes(self) -> int:
        return int(self._centres.nbytes * 2 + self._codes.nbytes)


def _index(kind: str, coarse: Any, dim: int, lists: int, parts: int) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "ivf_flat":
        index = faiss.IndexIVFFlat(coarse, dim, lists, metric)
    elif kind == "ivf_pq":
        index = faiss.IndexIVFPQ(coarse, dim, lists, parts, _PQ_BITS, metric)
        index.pq.cp.seed = _SEED
        index.pq.cp.min_points_per_centroid = 1
    else:
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric, True)
    index.cp.seed = _SEED
    return index


def _codes_of(kind: str, index: Any, parts: int) -> NDArray[np.float32]:
    if kind == "ivf_sq8":
        return np.asarray(faiss.vector_to_array(index.sq.trained))
    if kind == "ivf_pq":
        return np.asarray(faiss.vector_to_array(index.pq.centroids)).reshape(parts, -1)
    return np.zeros(0, dtype=np.float32)


def _parts(dim: int, settings: IndexSettings) -> int:
    return next(size for size in range(min(settings.pq_m, dim), 0, -1) if dim % size == 0)


def _some_of(n_rows: int, wanted: int) -> NDArray[np.int64]:
    """Return `min(wanted, n_rows)` row numbers, ascending, drawn evenly and the same every time."""
    return np.sort(np.random.default_rng(_SEED).permutation(n_rows)[:wanted])


def _take(chunks: Chunks, numbers: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """Return the rows with the given numbers (ascending)."""
    taken = np.empty((numbers.size, dim), dtype=np.float32)
    before = filled = 0
    for chunk in chunks():
        here = numbers[np.searchsorted(numbers, before) : np.searchsorted(numbers, before + len(chunk))] - before
        taken[filled : filled + here.size] = chunk[here]
        before, filled = before + len(chunk), filled + here.size
    return taken[:filled]


def _probe_for(chunks: Chunks, n_rows: int, coarse: Any, recall: float) -> int:
    """Return in how many of the nearest clusters the given share of true neighbours lies.

    Some rows are queries. Their neighbours among all rows are found exactly (those in a sample would be further away,
    and seem to need more), and each neighbour's cluster has a place in the query's order of clusters.
    """
    dim, lists = int(coarse.d), int(coarse.ntotal)
    numbers = _some_of(n_rows, _PROBE_QUERIES)
    queries = _take(chunks, numbers, dim)
    found = exact_neighbours((chunk.astype(np.float32) for chunk in chunks()), queries, min(_NEIGHBOURS + 1, n_rows))
    distinct, back = np.unique(found, return_inverse=True)
    _, cluster = coarse.search(_take(chunks, distinct, dim), 1)
    _, order = coarse.search(queries, lists)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(lists), order.shape), axis=1)
    places = np.take_along_axis(place, cluster[:, 0][back.reshape(found.shape)], axis=1)[found != numbers[:, None]]
    return int(np.quantile(places, recall, method="higher")) + 1 if places.size else 1

"""The structures a sealed segment can be searched with. Each one proposes rows; the segment scores them exactly.

A structure is built once, by one thread, and never changed afterwards: FAISS crashes the process when an index is
searched while it is written to, and an index nobody writes to needs no lock.
"""

from collections.abc import Callable
from typing import Any, Protocol

import faiss as typed_faiss
import numpy as np
from numpy.typing import NDArray

from core.errors import RiverlightError
from core.settings import IndexSettings
from models.index.forest import Forest

faiss: Any = typed_faiss  # the stubs do not know the search parameters' keyword arguments

Rows = NDArray[np.int64]
Store = Any  # a faiss.IndexScalarQuantizer of float16
Bits = NDArray[np.uint8]  # one bit a row, little-endian within a byte, as FAISS reads them

Cancelled = Callable[[], bool]

_SEED = 20260101
_PQ_BITS = 8


class BuildCancelled(RiverlightError):
    """The index was closed while a structure was being built."""


def never() -> bool:
    return False


class Structure(Protocol):
    """Proposes rows that are probably near a query."""

    def candidates(self, query: NDArray[np.float32], want: int, allowed: Bits | None) -> Rows:
        """Return up to `want` rows, in no order that matters; only ones whose bit is set, where bits are given."""
        ...

    def size_bytes(self) -> int:
        """Return the memory of the structure, without the segment's own vectors."""
        ...


def half_store(vectors: NDArray[np.float16]) -> Store:
    """Return `(n, dim)` float16 rows as a FAISS index that scans them by inner product."""
    n, dim = vectors.shape
    store = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, n, 16_384):
        store.add(vectors[start : start + 16_384].astype(np.float32))
    return store


def half_view(store: Store) -> NDArray[np.float16]:
    """Return the store's own memory as `(n, dim)` float16. It is valid for as long as the store is referenced."""
    if store.ntotal == 0:
        return np.zeros((0, store.d), dtype=np.float16)
    flat = faiss.rev_swig_ptr(store.codes.data(), store.ntotal * store.d * 2)
    return flat.view(np.float16).reshape(store.ntotal, store.d)


def selector(bits: Bits) -> Any:
    """Return a FAISS selector over `bits`; the caller keeps `bits` referenced while it is used."""
    return faiss.IDSelectorBitmap(bits)


def scan_parameters(bits: Bits) -> Any:
    """Return search parameters that make a scan look at the rows whose bit is set, and at no others."""
    return faiss.SearchParameters(sel=selector(bits))


def build(store: Store, settings: IndexSettings, cancelled: Cancelled = never) -> Structure | None:
    """Build the structure the settings ask for over a store; None for `flat`, which needs nothing more.

    Raises:
        BuildCancelled: `cancelled` turned true. The slow builds (graph, trees) ask it every second or so.
    """
    if settings.kind == "flat":
        return None
    if settings.kind == "hnsw":
        return Hnsw(store, settings, cancelled)
    vectors = half_view(store).astype(np.float32)
    if settings.kind == "tree":
        return Tree(vectors, settings, cancelled)
    if settings.kind == "lsh":
        return Lsh(vectors, settings)
    return Ivf(vectors, settings)


class Hnsw:
    """Hierarchical navigable small world graph (Malkov and Yashunin, 2016), over the segment's own vectors."""

    def __init__(self, store: Store, settings: IndexSettings, cancelled: Cancelled) -> None:
        vectors = half_view(store)
        self._index = faiss.IndexHNSWSQ(
            store.d, faiss.ScalarQuantizer.QT_fp16, settings.hnsw_m, faiss.METRIC_INNER_PRODUCT
        )
        self._index.hnsw.efConstruction = settings.hnsw_ef_construction
        self._index.is_trained = True  # float16 has nothing to learn
        for start in range(0, store.ntotal, 1_024):
            if cancelled():
                raise BuildCancelled("the index was closed while its graph was being built")
            self._index.add(vectors[start : start + 1_024].astype(np.float32))
        self._ef_search = settings.hnsw_ef_search

    @property
    def store(self) -> Store:
        """The vectors inside the graph: the segment uses these, so that they are held once."""
        return faiss.downcast_index(self._index.storage)

    def candidates(self, query: NDArray[np.float32], want: int, allowed: Bits | None) -> Rows:
        parameters = faiss.SearchParametersHNSW(
            efSearch=max(self._ef_search, want), sel=selector(allowed) if allowed is not None else None
        )
        _, rows = self._index.search(query[None, :], want, params=parameters)
        return _found(rows)

    def size_bytes(self) -> int:
        return int(self._index.hnsw.neighbors.size()) * 4 + int(self._index.hnsw.offsets.size()) * 8


class Ivf:
    """Inverted lists around k-means centroids; the vectors in the lists are full, SQ8 or PQ codes."""

    def __init__(self, vectors: NDArray[np.float32], settings: IndexSettings) -> None:
        n, dim = vectors.shape
        lists = settings.ivf_lists or max(1, int(4 * np.sqrt(n)))
        lists = max(1, min(lists, n // 39 or 1))  # FAISS asks for 39 training points per centroid
        self._coarse = faiss.IndexFlatIP(dim)
        metric = faiss.METRIC_INNER_PRODUCT
        if settings.kind == "ivf_pq" and n >= 2**_PQ_BITS:
            parts = _divisor_at_most(dim, settings.pq_m)
            self._index: Any = faiss.IndexIVFPQ(self._coarse, dim, lists, parts, _PQ_BITS, metric)
            self._index.pq.cp.seed = _SEED
            self._index.pq.cp.min_points_per_centroid = 1
            self._code_bytes = parts
            self._overfetch = 8  # codes this coarse order only roughly; the exact re-rank sorts the rest out
        elif settings.kind == "ivf_flat":
            self._index = faiss.IndexIVFFlat(self._coarse, dim, lists, metric)
            self._code_bytes = 4 * dim
            self._overfetch = 1
        else:
            self._index = faiss.IndexIVFScalarQuantizer(self._coarse, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric)
            self._code_bytes = dim
            self._overfetch = 2
        self._index.cp.seed = _SEED
        self._index.cp.spherical = True  # unit vectors: centroids by direction
        self._index.train(vectors)
        self._index.add(vectors)
        self._probe = min(settings.ivf_probe, lists)
        self._lists = lists

    def candidates(self, query: NDArray[np.float32], want: int, allowed: Bits | None) -> Rows:
        parameters = faiss.SearchParametersIVF(
            nprobe=self._probe, sel=selector(allowed) if allowed is not None else None
        )
        _, rows = self._index.search(query[None, :], min(want * self._overfetch, self._index.ntotal), params=parameters)
        return _found(rows)

    def size_bytes(self) -> int:
        return int(self._index.ntotal) * (self._code_bytes + 8) + self._lists * self._index.d * 4


class Lsh:
    """Locality-sensitive hashing: signs of random projections (Charikar, 2002), scanned by Hamming distance.

    `IndexLSH` makes the codes; `IndexBinaryFlat` scans them, because `IndexLSH` takes no selector.
    """

    _OVERFETCH = 10

    def __init__(self, vectors: NDArray[np.float32], settings: IndexSettings) -> None:
        dim = vectors.shape[1]
        bits = -(-settings.lsh_bits // 8) * 8
        self._hash = faiss.IndexLSH(dim, bits, True, False)
        self._hash.train(vectors)
        self._codes = faiss.IndexBinaryFlat(bits)
        self._codes.add(self._hash.sa_encode(vectors))

    def candidates(self, query: NDArray[np.float32], want: int, allowed: Bits | None) -> Rows:
        parameters = scan_parameters(allowed) if allowed is not None else None
        want = min(want * self._OVERFETCH, self._codes.ntotal)
        _, rows = self._codes.search(self._hash.sa_encode(query[None, :]), want, params=parameters)
        return _found(rows)

    def size_bytes(self) -> int:
        return int(self._codes.ntotal) * int(self._codes.code_size)


class Tree:
    """A forest of random-projection trees."""

    _OVERFETCH = 10

    def __init__(self, vectors: NDArray[np.float32], settings: IndexSettings, cancelled: Cancelled) -> None:
        self._forest = Forest(vectors.shape[1], vectors.shape[0], trees=settings.tree_count)
        rng = np.random.default_rng(_SEED)
        for tree in range(settings.tree_count):
            if cancelled():
                raise BuildCancelled("the index was closed while its trees were being grown")
            self._forest.grow(tree, vectors, rng)

    def candidates(self, query: NDArray[np.float32], want: int, allowed: Bits | None) -> Rows:
        rows = self._forest.near(query, max(want * self._OVERFETCH, self._forest.leaf_size * self._forest.trees * 4))
        if allowed is not None:
            rows = rows[(allowed[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1]
        return rows

    def size_bytes(self) -> int:
        return self._forest.size_bytes()


def _found(rows: NDArray[np.int64]) -> Rows:
    found = rows[0]
    return found[found >= 0].astype(np.int64)


def _divisor_at_most(dim: int, parts: int) -> int:
    return next(size for size in range(min(parts, dim), 0, -1) if dim % size == 0)

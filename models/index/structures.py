"""The structures a sealed segment can be searched with. Each one proposes rows; the index scores the best exactly.

A structure holds the only copy of a segment's vectors in memory, as codes; the vectors themselves stay in the
segment's files. It is built once, by one thread, and never changed afterwards: FAISS crashes the process when an index
is searched while it is written to, and an index nobody writes to needs no lock.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import faiss as typed_faiss
import numpy as np
from numpy.typing import NDArray

from core.errors import RiverlightError
from core.settings import IndexSettings
from models.index.codebook import KINDS as IVF_KINDS
from models.index.codebook import Codebook
from models.index.forest import Forest
from models.index.segment_files import CHUNK_ROWS, Rows, SegmentFiles

faiss: Any = typed_faiss  # the stubs do not know the search parameters' keyword arguments

Scores = NDArray[np.float32]
Found = tuple[Rows, Scores | None]  # None: in no order that matters, to be scored exactly
Store = Any  # a faiss.IndexScalarQuantizer of float16
Bits = NDArray[np.uint8]  # one bit a row, little-endian within a byte, as FAISS reads them

Cancelled = Callable[[], bool]

_SEED = 20260101


class BuildCancelled(RiverlightError):
    """The index was closed while a structure was being built."""


def never() -> bool:
    return False


class Query:
    """A `(dim,)` vector of length 1 on its way through the segments, and what they need not compute twice."""

    def __init__(self, vector: NDArray[np.float32], n_rows: int) -> None:
        """`n_rows` is the size of the whole index."""
        self.vector = vector
        self._n_rows = n_rows
        self._clusters: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def clusters(self, codebook: Codebook, scan_limit: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the similarities and numbers of the clusters to search, each `(1, probe)`."""
        if codebook.id not in self._clusters:
            affordable = max(1, scan_limit * codebook.lists // max(1, self._n_rows))
            self._clusters[codebook.id] = codebook.nearest(self.vector, min(codebook.probe, affordable, codebook.lists))
        return self._clusters[codebook.id]


class Structure(Protocol):
    """Proposes rows that are probably near a query."""

    def candidates(self, query: Query, want: int, allowed: Bits | None) -> Found:
        """Return up to `want` rows, or more; only ones whose bit is set, where bits are given."""
        ...

    def scan(self, query: Query, want: int, allowed: Bits) -> Found | None:
        """Look at every row whose bit is set; None when the structure cannot."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `restore` needs, beside the vectors, to make the structure again."""
        ...

    def size_bytes(self) -> int:
        """Return the memory of the structure, the codes of the vectors included."""
        ...


def half_store(files: SegmentFiles) -> Store:
    """Return a segment's vectors as a FAISS index in memory that scans them by inner product."""
    store = faiss.IndexScalarQuantizer(files.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for _, vectors in _chunks(files):
        store.add(vectors)
    return store


def selector(bits: Bits) -> Any:
    """Return a FAISS selector over `bits`; the caller keeps `bits` referenced while it is used."""
    return faiss.IDSelectorBitmap(bits)


def scan_parameters(bits: Bits) -> Any:
    """Return search parameters that make a scan look at the rows whose bit is set, and at no others."""
    return faiss.SearchParameters(sel=selector(bits))


def build(
    files: SegmentFiles,
    settings: IndexSettings,
    codebook: Codebook | None = None,
    lists: NDArray[np.int32] | None = None,
    cancelled: Cancelled = never,
) -> Structure | None:
    """Build the structure the settings ask for over a segment's vectors; None for `flat`, which needs nothing more.

    Args:
        codebook: what the `ivf_*` kinds need.
        lists: each row's cluster in that codebook, negative where it is not known.

    Raises:
        BuildCancelled: `cancelled` turned true. The slow builds (graph, trees) ask it every second or so.
    """
    if settings.kind in IVF_KINDS:
        if codebook is None:
            raise ValueError(f"{settings.kind} needs a codebook")
        known = np.full(files.n_rows, -1, dtype=np.int32) if lists is None else lists
        return Ivf(files, settings, codebook, _assigned(files, codebook, known, cancelled))
    if settings.kind == "hnsw":
        return Hnsw(_grown_graph(files, settings, cancelled), settings)
    if settings.kind == "tree":
        return Tree(_grown_forest(files, settings, cancelled))
    if settings.kind == "lsh":
        return Lsh(files, settings)
    return None


def restore(
    files: SegmentFiles, settings: IndexSettings, codebook: Codebook | None, arrays: Mapping[str, NDArray[Any]]
) -> Structure | None:
    """Make a structure again from the arrays it was saved with; None where they are of another kind."""
    if settings.kind in IVF_KINDS and codebook is not None and "lists" in arrays:
        return Ivf(files, settings, codebook, arrays["lists"].astype(np.int32))
    if settings.kind == "hnsw" and "graph" in arrays:
        return Hnsw(faiss.deserialize_index(arrays["graph"]), settings)
    if settings.kind == "tree" and "thresholds" in arrays:
        return Tree(Forest.restore(files.dim, files.n_rows, arrays))
    if settings.kind == "lsh":
        return Lsh(files, settings)
    return None


class Ivf:
    """Inverted lists around k-means centres; the vectors in the lists are full, SQ8 or PQ codes."""

    def __init__(
        self, files: SegmentFiles, settings: IndexSettings, codebook: Codebook, lists: NDArray[np.int32]
    ) -> None:
        self.codebook = codebook
        self.lists = lists.astype(np.uint16) if codebook.lists <= 2**16 else lists
        self._scan_limit = settings.ivf_scan_limit
        self._coarse_order = codebook.kind == "ivf_pq"  # such codes order only roughly: fetch more, score them all
        self._overfetch = 8 if self._coarse_order else 1
        self._index = codebook.empty_index()
        inverted = faiss.downcast_InvertedLists(self._index.invlists)
        for number, size in enumerate(np.bincount(lists, minlength=codebook.lists).tolist()):
            if size:  # to the final size and back: no list grows by doubling, which would leave up to half unused
                inverted.resize(number, size)
                inverted.resize(number, 0)
        for start, vectors in _chunks(files):
            rows = np.arange(start, start + len(vectors), dtype=np.int64)
            known = lists[start : start + len(vectors)].astype(np.int64)
            self._index.add_core(
                len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(rows), faiss.swig_ptr(known), None
            )

    def candidates(self, query: Query, want: int, allowed: Bits | None) -> Found:
        return self._search(query.vector, *query.clusters(self.codebook, self._scan_limit), want, allowed)

    def scan(self, query: Query, want: int, allowed: Bits) -> Found:
        return self._search(query.vector, *self.codebook.nearest(query.vector, self.codebook.lists), want, allowed)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"lists": self.lists}

    def size_bytes(self) -> int:
        return self.lists.nbytes + int(self._index.ntotal) * (int(self._index.code_size) + 8)

    def _search(
        self,
        vector: NDArray[np.float32],
        similarities: NDArray[np.float32],
        clusters: NDArray[np.int64],
        want: int,
        allowed: Bits | None,
    ) -> Found:
        want = min(want * self._overfetch, int(self._index.ntotal))
        scores, rows = np.empty(want, dtype=np.float32), np.empty(want, dtype=np.int64)
        parameters = faiss.SearchParametersIVF(
            nprobe=clusters.size, sel=selector(allowed) if allowed is not None else None
        )
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(vector),
            want,
            faiss.swig_ptr(clusters),
            faiss.swig_ptr(similarities),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,
            parameters,
        )
        found = rows >= 0
        return rows[found], None if self._coarse_order else scores[found]


class Hnsw:
    """Hierarchical navigable small world graph (Malkov and Yashunin, 2016) over 8-bit codes."""

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        self._index = index
        self._storage = faiss.downcast_index(index.storage)
        self._ef_search = settings.hnsw_ef_search

    def candidates(self, query: Query, want: int, allowed: Bits | None) -> Found:
        parameters = faiss.SearchParametersHNSW(
            efSearch=max(self._ef_search, want), sel=selector(allowed) if allowed is not None else None
        )
        scores, rows = self._index.search(query.vector[None, :], want, params=parameters)
        return _found(scores, rows)

    def scan(self, query: Query, want: int, allowed: Bits) -> Found:
        scores, rows = self._storage.search(query.vector[None, :], want, params=scan_parameters(allowed))
        return _found(scores, rows)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"graph": faiss.serialize_index(self._index)}

    def size_bytes(self) -> int:
        links = int(self._index.hnsw.neighbors.size()) * 4 + int(self._index.hnsw.offsets.size()) * 8
        return links + int(self._index.ntotal) * int(self._storage.code_size)


class Lsh:
    """Locality-sensitive hashing: signs of random projections (Charikar, 2002), scanned by Hamming distance.

    `IndexLSH` makes the codes; `IndexBinaryFlat` scans them, because `IndexLSH` takes no selector.
    """

    _OVERFETCH = 10

    def __init__(self, files: SegmentFiles, settings: IndexSettings) -> None:
        bits = -(-settings.lsh_bits // 8) * 8
        self._hash = faiss.IndexLSH(files.dim, bits, True, False)  # its projections are the same every time
        self._codes = faiss.IndexBinaryFlat(bits)
        for _, vectors in _chunks(files):
            self._codes.add(self._hash.sa_encode(vectors))

    def candidates(self, query: Query, want: int, allowed: Bits | None) -> Found:
        parameters = scan_parameters(allowed) if allowed is not None else None
        want = min(want * self._OVERFETCH, self._codes.ntotal)
        _, rows = self._codes.search(self._hash.sa_encode(query.vector[None, :]), want, params=parameters)
        return rows[0][rows[0] >= 0].astype(np.int64), None

    def scan(self, query: Query, want: int, allowed: Bits) -> Found | None:
        return None  # it looks at every row anyway

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def size_bytes(self) -> int:
        return int(self._codes.ntotal) * int(self._codes.code_size)


class Tree:
    """A forest of random-projection trees."""

    _OVERFETCH = 10

    def __init__(self, forest: Forest) -> None:
        self._forest = forest

    def candidates(self, query: Query, want: int, allowed: Bits | None) -> Found:
        rows = self._forest.near(
            query.vector, max(want * self._OVERFETCH, self._forest.leaf_size * self._forest.trees * 4)
        )
        if allowed is not None:
            rows = rows[(allowed[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1]
        return rows, None

    def scan(self, query: Query, want: int, allowed: Bits) -> Found | None:
        return None  # it holds no codes to scan

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._forest.arrays()

    def size_bytes(self) -> int:
        return self._forest.size_bytes()


def _chunks(files: SegmentFiles) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for start in range(0, files.n_rows, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, files.n_rows)
        yield start, files.vectors_between(start, stop).astype(np.float32)


def _assigned(
    files: SegmentFiles, codebook: Codebook, lists: NDArray[np.int32], cancelled: Cancelled
) -> NDArray[np.int32]:
    lists = lists.copy()
    for start, vectors in _chunks(files):
        unknown = np.flatnonzero(lists[start : start + len(vectors)] < 0)
        if unknown.size:
            if cancelled():
                raise BuildCancelled("the index was closed while its vectors were being put into lists")
            lists[start + unknown] = codebook.assign(vectors[unknown])
    return lists


def _grown_graph(files: SegmentFiles, settings: IndexSettings, cancelled: Cancelled) -> Any:
    index = faiss.IndexHNSWSQ(files.dim, faiss.ScalarQuantizer.QT_8bit, settings.hnsw_m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = settings.hnsw_ef_construction
    lowest = np.full(files.dim, np.inf, dtype=np.float32)
    highest = -lowest
    for _, vectors in _chunks(files):
        np.minimum(lowest, vectors.min(axis=0), out=lowest)
        np.maximum(highest, vectors.max(axis=0), out=highest)
    index.train(np.stack([lowest, highest]))  # the range of each dimension is all that 8-bit codes learn
    for _, vectors in _chunks(files):
        for start in range(0, len(vectors), 1_024):
            if cancelled():
                raise BuildCancelled("the index was closed while its graph was being built")
            index.add(vectors[start : start + 1_024])
    return index


def _grown_forest(files: SegmentFiles, settings: IndexSettings, cancelled: Cancelled) -> Forest:
    vectors = np.concatenate([part for _, part in _chunks(files)])
    forest = Forest(files.dim, files.n_rows, trees=settings.tree_count)
    rng = np.random.default_rng(_SEED)
    for tree in range(settings.tree_count):
        if cancelled():
            raise BuildCancelled("the index was closed while its trees were being grown")
        forest.grow(tree, vectors, rng)
    return forest


def _found(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Found:
    found = rows[0] >= 0
    return rows[0][found].astype(np.int64), scores[0][found]

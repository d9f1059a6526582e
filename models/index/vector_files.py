"""Vectors to measure with: read from a `.npy` file of somebody else's, or made up."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

_MAGIC = b"\x93NUMPY"
_CHUNK_ROWS = 20_000


def read_vectors(path: Path) -> NDArray[np.float32]:
    """Read an `.npy` file of `(n, dim)` numbers, each row scaled to length 1. Nothing in the file is ever executed.

    Raises:
        InvalidInput: there is no such file, it is not `.npy`, or what it holds are no vectors; says what and where.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if start != _MAGIC:
            raise InvalidInput(
                f"{path} is not an .npy file (it begins with {start!r}); write one with numpy.save(path, vectors)"
            )
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # objects, which only unpickling would read; or a header that does not parse
        raise InvalidInput(f"{path} holds no plain array of numbers ({error})") from error
    if stored.dtype.kind not in "fiu":
        raise InvalidInput(f"{path} holds values of type {stored.dtype}; vectors are floating-point or whole numbers")
    if stored.ndim != 2 or 0 in stored.shape:
        raise InvalidInput(f"{path} holds an array of shape {stored.shape}; it should be (vectors, dimensions)")
    rows = np.empty(stored.shape, dtype=np.float32)
    for begin in range(0, len(stored), _CHUNK_ROWS):
        chunk = stored[begin : begin + _CHUNK_ROWS].astype(np.float64)
        _refuse(path, begin, ~np.isfinite(chunk).all(axis=1), "a value that is not finite")
        largest = np.abs(chunk).max(axis=1, keepdims=True)
        _refuse(path, begin, largest[:, 0] == 0, "only zeros, which have no direction")
        chunk /= largest
        rows[begin : begin + len(chunk)] = chunk / np.linalg.norm(chunk, axis=1, keepdims=True)
    return rows


def hold_back(rows: NDArray[np.float32], count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the rows without `count` of them, and those, to search for: what is indexed too is found too easily."""
    held = np.random.default_rng(seed).permutation(len(rows))[:count]
    return np.delete(rows, held, axis=0), rows[held]


def clustered_vectors(n: int, dim: int, *, seed: int = 0, spread: float = 0.8) -> NDArray[np.float32]:
    """Return `(n, dim)` unit rows in overlapping clusters of uneven size; see `clustered_chunks`."""
    return np.concatenate(list(clustered_chunks(n, dim, seed=seed, spread=spread)))


def clustered_chunks(n: int, dim: int, *, seed: int = 0, spread: float = 0.8) -> Iterator[NDArray[np.float32]]:
    """Make up `n` unit rows in overlapping clusters of uneven size, some thousand at a time.

    There is a cluster for each hundred rows. As with topics, the size of a cluster falls with its rank, to the power of
    0.8: of 1,000 clusters the largest holds 7 % of the rows, of 10,000 4 %.
    With `spread` 0.8 a row's own noise is almost as strong as its cluster ("overlap"; 0.2 would be well-separated
    clusters, on which every kind looks perfect; 3 drowns them, as in random data: "hard").
    """
    rng = np.random.default_rng(seed)
    n_clusters = max(2, n // 100)
    centres = rng.standard_normal((n_clusters, dim), dtype=np.float32)
    sizes = np.arange(1, n_clusters + 1) ** -0.8
    members = rng.choice(n_clusters, n, p=sizes / sizes.sum())
    for start in range(0, n, _CHUNK_ROWS):
        chosen = members[start : start + _CHUNK_ROWS]
        rows = centres[chosen] + np.float32(spread) * rng.standard_normal((chosen.size, dim), dtype=np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def exact_neighbours(chunks: Iterator[NDArray[np.float32]], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the numbers of the `k` rows most similar to each query, `(len(queries), k)`, over chunks of unit rows."""
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    numbers = np.zeros((len(queries), 0), dtype=np.int64)
    before = 0
    for chunk in chunks:
        here = queries @ chunk.T
        kept = np.argpartition(-here, min(k, len(chunk)) - 1, axis=1)[:, :k]
        scores = np.concatenate([scores, np.take_along_axis(here, kept, axis=1)], axis=1)
        numbers = np.concatenate([numbers, kept + before], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, order, axis=1)
        numbers = np.take_along_axis(numbers, order, axis=1)
        before += len(chunk)
    return numbers


def _refuse(path: Path, begin: int, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        raise InvalidInput(
            f"row {begin + int(np.argmax(wrong))} of {path} holds {what} ({int(wrong.sum())} such rows among the "
            f"{wrong.size} from row {begin} on)"
        )

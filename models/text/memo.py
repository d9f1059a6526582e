"""Vectors of recent texts, kept: spam and chain letters come in thousands of copies."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.ports import TextEncoder


class MemoEncoder:
    """A `TextEncoder` that asks another one only for texts it has not seen lately. Bounded; safe for threads."""

    def __init__(self, encoder: TextEncoder, capacity: int) -> None:
        """Keep the vectors of the `capacity` texts asked for last (1.6 kB each at 384 dimensions)."""
        self._encoder = encoder
        self._capacity = capacity
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def version(self) -> str:
        return self._encoder.version

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into `(n, dim)` float32 rows of length 1; equal texts are embedded once."""
        keys = [_key(text) for text in texts]
        with self._lock:
            rows = {key: self._rows[key] for key in keys if key in self._rows}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        if new:
            embedded = self._encoder.encode(list(new.values()))
            rows.update((key, row.copy()) for key, row in zip(new, embedded, strict=True))  # not views of a large batch
        with self._lock:
            for key in dict.fromkeys(keys):
                self._rows[key] = rows[key]
                self._rows.move_to_end(key)
            while len(self._rows) > self._capacity:
                self._rows.popitem(last=False)
        return np.stack([rows[key] for key in keys]) if keys else np.empty((0, self.dim), np.float32)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

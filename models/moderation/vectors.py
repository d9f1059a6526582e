"""Vectors of texts, kept on disk by encoder version: embedding is what training waits for."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.ports import TextEncoder
from models.progress import Report

_CHUNK = 256


class VectorCache:
    """Text → vector of one encoder, under `<home>/cache/text-vectors/<version>`. One process writes at a time."""

    def __init__(self, home: Path, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._folder = home / "cache" / "text-vectors" / encoder.version.replace("/", "-")
        self._rows: dict[str, int] = {}
        self._vectors = np.zeros((0, encoder.dim), np.float32)
        keys, vectors = self._folder / "keys.json", self._folder / "vectors.npy"
        if keys.is_file() and vectors.is_file():
            known = json.loads(keys.read_text(encoding="utf-8"))
            stored = np.load(vectors, allow_pickle=False)
            # A crash between the two writes leaves more vectors than keys; the surplus is embedded again.
            if stored.ndim == 2 and stored.shape[1] == encoder.dim and len(known) <= len(stored):
                self._vectors = stored[: len(known)]
                self._rows = {key: row for row, key in enumerate(known)}

    def encode(self, texts: Sequence[str], report: Report = lambda stage, done, total: None) -> NDArray[np.float32]:
        """Return `(n, D)` vectors; texts that were never seen are embedded and kept, a chunk at a time."""
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._rows}
        fresh = list(missing.items())
        for start in range(0, len(fresh), _CHUNK):
            report("embedding", start, len(fresh))
            chunk = fresh[start : start + _CHUNK]
            rows = self._encoder.encode([text for _, text in chunk])
            for key, _ in chunk:
                self._rows[key] = len(self._rows)
            self._vectors = np.concatenate([self._vectors, rows.astype(np.float32)])
            self._write()
        if fresh:
            report("embedding", len(fresh), len(fresh))
        return self._vectors[[self._rows[key] for key in keys]] if keys else self._vectors[:0]

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, write in (("vectors.npy", self._write_vectors), ("keys.json", self._write_keys)):
            temporary = self._folder / f".{name}"
            write(temporary)
            temporary.replace(self._folder / name)

    def _write_vectors(self, path: Path) -> None:
        with path.open("wb") as out:
            np.save(out, self._vectors, allow_pickle=False)

    def _write_keys(self, path: Path) -> None:
        path.write_text(json.dumps(list(self._rows)), encoding="utf-8")


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

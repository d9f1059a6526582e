"""Any text model in Hugging Face's layout as the text encoder, by hub id or local folder."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.utils.hub import cached_file

from core.errors import ConfigurationError
from models.text.bounds import bounded

_POOLING_FILE = "1_Pooling/config.json"  # where sentence-transformers says how a model's tokens become one vector
_POOLINGS = {"mean": "mean", "mean_tokens": "mean", "cls": "first", "cls_token": "first", "lasttoken": "last"}


class HuggingFaceTextEncoder:
    """The `TextEncoder` of a `transformers` model.

    Two-tower models (CLIP, SigLIP …) give their projected text features; others the mean over their tokens, or what
    their own pooling file says. Code from a hub is never run, and weights are read as safetensors or not at all.
    """

    def __init__(
        self, model: str, *, prefix: str = "", max_tokens: int = 128, batch_size: int = 32, device: str = "cpu"
    ) -> None:
        """Load `model`: a local folder, or a hub id, optionally with a revision as `owner/name@revision`.

        On a GPU the weights are float16.

        Raises:
            ConfigurationError: it cannot be loaded (not found, no network, no safetensors, needs its own code), or does
                not turn texts into vectors.
        """
        folder = Path(model)
        name, _, revision = (model, "", "") if folder.is_dir() else model.partition("@")
        options: dict[str, Any] = {"trust_remote_code": False, **({"revision": revision} if revision else {})}
        dtype = torch.float16 if device.startswith("cuda") else torch.float32
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, **options)
            network = AutoModel.from_pretrained(name, use_safetensors=True, dtype=dtype, **options)
            self._pooling = _pooling(name, revision)
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise ConfigurationError(
                f"the text encoder {model!r} cannot be loaded: {error}\nIt must be a local folder or a hub id with "
                "safetensors weights and a tokenizer; models that bring their own code are refused."
            ) from error
        self._model = network.eval().to(device)
        if self._tokenizer.pad_token is None:  # decoders have none; what is padded is masked
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        self._prefix = prefix
        self._max_tokens = min(max_tokens, self._tokenizer.model_max_length, _positions(self._model.config))
        self._batch_size = batch_size
        self._device = device
        self._lock = threading.Lock()  # fast tokenizers change their own state, and threads gain nothing in torch
        how = f"{_weights(folder, self._model)}\n{prefix}\n{self._max_tokens}\n{self._pooling}"
        short_name = folder.resolve().name if folder.is_dir() else name.replace("/", "--")
        self._version = f"{short_name}/{hashlib.sha256(how.encode()).hexdigest()[:8]}"
        try:
            self._dim = int(self._features(["text"]).shape[1])
        except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
            raise ConfigurationError(f"{model!r} does not turn texts into vectors: {error}") from error

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def version(self) -> str:
        return self._version

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into `(n, dim)` float32 rows of length 1, those of like length in one batch."""
        plain = [self._prefix + bounded(text, self._max_tokens) for text in texts]
        order = sorted(range(len(plain)), key=lambda number: len(plain[number]))
        rows = np.empty((len(plain), self._dim), np.float32)
        for start in range(0, len(order), self._batch_size):
            numbers = order[start : start + self._batch_size]
            with self._lock:
                features = self._features([plain[number] for number in numbers])
            rows[numbers] = functional.normalize(features.float(), dim=1).cpu().numpy()
        return rows

    def _features(self, texts: list[str]) -> Tensor:
        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            two_towers = getattr(self._model, "get_text_features", None)
            output = two_towers(**inputs) if two_towers is not None else self._model(**inputs)
        if isinstance(output, Tensor):
            return output
        if two_towers is not None:  # newer releases wrap the projected features
            return _tensor(output.pooler_output)
        return _pooled(_tensor(output.last_hidden_state), inputs["attention_mask"], self._pooling)


def _pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one row for each text of `(n, tokens, dim)`; padding, which is on the right, counts for nothing."""
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1)


def _pooling(name: str, revision: str) -> str:
    """Return how the model wants its tokens pooled; `mean` where it does not say."""
    file = cached_file(
        name, _POOLING_FILE, **({"revision": revision} if revision else {}), _raise_exceptions_for_missing_entries=False
    )
    if file is None:
        return "mean"
    said = json.loads(Path(file).read_text())
    chosen = [key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on]
    chosen = chosen or [str(said.get("pooling_mode"))]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise ValueError(
            f"its {_POOLING_FILE} wants {', '.join(chosen)}; one of {', '.join(_POOLINGS)} is possible here"
        )
    return _POOLINGS[chosen[0]]


def _positions(config: Any) -> int:
    """Return how many tokens the network has positions for."""
    text = getattr(config, "text_config", None) or config
    positions = getattr(text, "max_position_embeddings", None)
    # RoBERTa's positions begin after the padding token's.
    reserved = (text.pad_token_id or 0) + 1 if "roberta" in str(getattr(text, "model_type", "")) else 0
    return int(positions) - reserved if positions else 1_000_000


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError("the model gave no features")
    return value


def _weights(folder: Path, model: Any) -> str:
    """Return what identifies the weights: their hash, or the hub's commit."""
    if not folder.is_dir():
        return str(getattr(model.config, "_commit_hash", None) or "unknown")
    hashed = hashlib.sha256()
    for weights in sorted(folder.glob("*.safetensors")):
        with weights.open("rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()

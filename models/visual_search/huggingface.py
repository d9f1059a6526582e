"""Any vision, CLIP or SigLIP model in Hugging Face's layout as the image encoder, by hub id or local folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel

from core.errors import ConfigurationError
from models.visual_search.preprocess import on_white


class HuggingFaceEncoder:
    """The `ImageEncoder` of a `transformers` model.

    Two-tower models (CLIP, SigLIP …) give their projected image features; vision transformers the class token of the
    last layer; convolutional networks the average over places. Code from a hub is never run, and weights are read as
    safetensors or not at all.
    """

    def __init__(self, model: str, *, batch_size: int = 16, device: str = "cpu") -> None:
        """Load `model`: a local folder, or a hub id, optionally with a revision as `owner/name@revision`.

        Raises:
            ConfigurationError: it cannot be loaded (not found, no network, no safetensors, needs its own code), or is
                no image model.
        """
        folder = Path(model)
        name, _, revision = (model, "", "") if folder.is_dir() else model.partition("@")
        options: dict[str, Any] = {"trust_remote_code": False, **({"revision": revision} if revision else {})}
        try:
            self._processor = AutoImageProcessor.from_pretrained(name, **options)
            self._model = AutoModel.from_pretrained(name, use_safetensors=True, **options).eval().to(device)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigurationError(
                f"the image encoder {model!r} cannot be loaded: {error}\nIt must be a local folder or a hub id with "
                "safetensors weights and a preprocessor_config.json; models that bring their own code are refused."
            ) from error
        self._batch_size = batch_size
        self._device = device
        self._version = _version(folder, name, getattr(self._model.config, "_commit_hash", None))
        try:
            self._dim = int(self._features([np.zeros((32, 32, 3), np.uint8)]).shape[1])
        except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
            raise ConfigurationError(f"{model!r} does not turn images into vectors: {error}") from error

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def version(self) -> str:
        return self._version

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed `(H, W, 3)` RGB (or RGBA, put on white) images into `(n, dim)` float32 rows of length 1."""
        rows = [np.empty((0, self._dim), np.float32)]
        for start in range(0, len(images), self._batch_size):
            features = self._features([on_white(image) for image in images[start : start + self._batch_size]])
            rows.append(functional.normalize(features.float(), dim=1).cpu().numpy())
        return np.concatenate(rows)

    def _features(self, images: list[NDArray[np.uint8]]) -> Tensor:
        inputs = self._processor(images=images, return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"].to(self._device)
        with torch.inference_mode():
            two_towers = getattr(self._model, "get_image_features", None)
            output = two_towers(pixel_values=pixels) if two_towers is not None else self._model(pixel_values=pixels)
        if isinstance(output, Tensor):
            return output
        if two_towers is not None:  # newer releases wrap the projected features
            return _tensor(output.pooler_output)
        hidden = _tensor(output.last_hidden_state)
        return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError("the model gave no features")
    return value


def _version(folder: Path, name: str, commit: str | None) -> str:
    if folder.is_dir():
        hashed = hashlib.sha256()
        for weights in sorted(folder.glob("*.safetensors")):
            with weights.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        return f"{folder.resolve().name}/{hashed.hexdigest()[:8]}"
    return f"{name.replace('/', '--')}/{(commit or 'unknown')[:8]}"

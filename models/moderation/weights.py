"""Writing harm models: the arrays of their networks and calibration, with all that scoring needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.moderation.calibration import PlattCalibration
from models.moderation.experts import Experts
from models.moderation.model import FusionNetwork
from models.moderation.score import Described


def arrays_of(
    members: Sequence[FusionNetwork], experts: Experts, calibration: PlattCalibration
) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a model by name, as `score.HarmModel` reads them."""
    arrays = {
        f"members.{number}.{name}": np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)
        for number, member in enumerate(members)
        for name, values in member.state_dict().items()
    }
    arrays |= experts.arrays()
    arrays["calibration.scale"] = np.asarray(calibration.scale, np.float32)
    arrays["calibration.shift"] = np.asarray(calibration.shift, np.float32)
    return arrays


def save_model(arrays: Mapping[str, NDArray[Any]], described: Described, path: Path) -> None:
    """Write the weights file."""
    save_file(dict(arrays), path, metadata={"riverlight": described.as_json()})

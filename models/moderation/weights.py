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
from models.moderation.tempering import MEMBERS, Tempering


def arrays_of(
    members: Sequence[FusionNetwork],
    experts: Experts,
    calibration: PlattCalibration,
    tempering: Tempering | None = None,
    tempered: Sequence[FusionNetwork] = (),
) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a model by name, as `score.HarmModel` reads them.

    `tempered` are the networks that tempering is of, where they are others than the members.
    """
    arrays = _arrays("members.", members) | experts.arrays()
    if tempering is not None:
        arrays |= tempering.arrays() | _arrays(MEMBERS, tempered)
    arrays["calibration.scale"] = np.asarray(calibration.scale, np.float32)
    arrays["calibration.shift"] = np.asarray(calibration.shift, np.float32)
    return arrays


def _arrays(prefix: str, networks: Sequence[FusionNetwork]) -> dict[str, NDArray[np.float32]]:
    return {
        f"{prefix}{number}.{name}": np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)
        for number, network in enumerate(networks)
        for name, values in network.state_dict().items()
    }


def save_model(arrays: Mapping[str, NDArray[Any]], described: Described, path: Path) -> None:
    """Write the weights file."""
    save_file(dict(arrays), path, metadata={"riverlight": described.as_json()})

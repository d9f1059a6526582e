"""A registered harm model as networks that can learn on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from core.errors import IntegrityError
from models.moderation.calibration import PlattCalibration
from models.moderation.experts import Experts
from models.moderation.features import FeatureBatch
from models.moderation.fit import TrainSettings, logits_of
from models.moderation.model import FusionNetwork, NetworkConfig
from models.moderation.quantize import quantized
from models.moderation.score import Described, HarmModel, widened
from models.moderation.tempering import MEMBERS, OUTSIDE, STACK, Tempering, text_alone
from models.moderation.weights import arrays_of
from models.registry.manifest import WEIGHTS

Floats = NDArray[np.float32]
TAUGHT = "learned.posts"
"""The array with the hashes of the posts whose reports have taught a version or those before it."""


@dataclass(frozen=True)
class SavedModel:
    """Networks, experts and calibration as a weights file has them. `taught` are hashes of posts, `(k,)` int64.

    `tempered` are the networks that tempering is of: those that were trained, whatever the members have learned since.
    So tempering goes on holding back what was never learned, and nothing of what was learned since.
    """

    described: Described
    members: list[FusionNetwork]
    experts: Experts
    tempering: Tempering | None
    tempered: list[FusionNetwork]
    calibration: PlattCalibration
    taught: NDArray[np.int64]
    int8: bool

    def beside_opinions(self, batch: FeatureBatch) -> FeatureBatch:
        """Return a batch with what the networks are given beside it: the opinions of the experts."""
        return batch.beside(experts=self.experts.opinions(batch))

    def change(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return what is added to the networks' logits `(n, 5)` of posts with opinions beside them."""
        if self.tempering is None:
            return np.zeros((len(batch), len(self.described.outputs)))
        said, of_text = logits_of(self.tempered, batch), logits_of(self.tempered, text_alone(batch))
        return self.tempering.change(batch.dense["experts"], said, of_text)

    def with_members(self, members: Sequence[FusionNetwork], taught: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a version with other networks: all else stays, int8 stays int8."""
        arrays = arrays_of(members, self.experts, self.calibration, self.tempering, self.tempered)
        written: dict[str, NDArray[Any]] = quantized(arrays) if self.int8 else dict(arrays)
        written[TAUGHT] = np.unique(taught)
        return written

    def scoring(self, arrays: dict[str, NDArray[Any]], version: str) -> HarmModel:
        """Return arrays of `with_members` as a model that scores."""
        return HarmModel(self.described, {n: v for n, v in arrays.items() if n != TAUGHT}, version=version)


def load_saved(folder: Path, settings: TrainSettings | None = None) -> SavedModel:
    """Read a version's weights; `settings` say how much is dropped out while its networks learn on.

    Raises:
        IntegrityError: the file does not hold networks of this release's kind.
    """
    path, settings = folder / WEIGHTS, settings or TrainSettings()
    try:
        with safe_open(path, framework="numpy") as file:
            described = Described.of_json((file.metadata() or {})["riverlight"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        taught = stored.pop(TAUGHT, np.zeros(0, np.int64)).astype(np.int64)
        arrays = widened(stored)
        experts = Experts(
            described.experts, *(arrays[f"experts.{name}"] for name in ("weight", "bias", "mean", "deviation"))
        )
        members = [_member(described, arrays, f"members.{number}.", settings) for number in range(described.members)]
        tempering, tempered = None, members
        if STACK in arrays:
            tempering = Tempering(described.experts, arrays[STACK], arrays[OUTSIDE])
        if f"{MEMBERS}0.first.bias" in arrays:
            tempered = [_member(described, arrays, f"{MEMBERS}{number}.", settings) for number in range(len(members))]
        scale, shift = arrays["calibration.scale"], arrays["calibration.shift"]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise IntegrityError(
            f"{path} cannot go on learning: it does not hold networks of this release ({error}). Train a model again: "
            "riverlight train moderation --promote"
        ) from error
    calibration = PlattCalibration(scale.tolist(), shift.tolist(), [True] * len(scale))
    int8 = any(values.dtype == np.int8 for values in stored.values())
    return SavedModel(described, members, experts, tempering, tempered, calibration, taught, int8)


def _member(described: Described, arrays: dict[str, Floats], prefix: str, settings: TrainSettings) -> FusionNetwork:
    """Return one network; its widths are those of its arrays."""
    state = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    sides = [name for name in described.modalities if name not in ("text", "comments")]
    config = NetworkConfig(
        widths=described.scaling.widths,
        modalities=described.modalities,
        text_hidden=len(state["encoders.text.bias"]),
        side_hidden=len(state[f"encoders.{sides[0]}.bias"]),
        shared=len(state["first.bias"]),
        head=len(state[f"heads.{described.outputs[0]}.0.bias"]) if described.heads == "task" else 0,
        place_dim=state["places.weight"].shape[1],
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        experts=state["wide.weight"].shape[1] if described.experts else 0,
        heads="task" if described.heads == "task" else "shared",
        outputs=described.outputs,
    )
    network = FusionNetwork(config)
    network.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in state.items()})
    return network.eval()

"""A training run's state on disk: enough to go on as if it had never stopped. Safetensors and JSON, nothing pickled."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import IntegrityError

_FOLDER = "checkpoint"


@dataclass(frozen=True)
class RunState:
    """Where a run is. `history` has one entry an epoch: epoch, loss, validation MRR, seconds."""

    epoch: int
    step: int
    best_epoch: int
    best_mrr: float
    history: list[dict[str, float]]
    fingerprint: str


def save_checkpoint(
    folder: Path, state: RunState, current: dict[str, Tensor], best: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Replace the checkpoint in `folder` by this one; a crash leaves the old one or the new one, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=folder))
    described = optimizer.state_dict()
    tensors = {f"current.{name}": value.detach() for name, value in current.items()}
    tensors |= {f"best.{name}": value.detach() for name, value in best.items()}
    for index, slots in described["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, temporary / "state.safetensors")
    (temporary / "state.json").write_text(
        json.dumps({"run": asdict(state), "groups": described["param_groups"]}), encoding="utf-8"
    )
    final, old = folder / _FOLDER, folder / ".checkpoint-old"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, fingerprint: str
) -> tuple[RunState, dict[str, Tensor], dict[str, Tensor], dict[str, Any]] | None:
    """Return the state, current and best parameters and the optimizer's state, or None where there is no checkpoint.

    Raises:
        IntegrityError: it belongs to other settings or other data, or is damaged.
    """
    source = folder / _FOLDER
    if not source.is_dir():
        source = folder / ".checkpoint-old"  # stopped between the two renames
        if not source.is_dir():
            return None
    try:
        described = json.loads((source / "state.json").read_text(encoding="utf-8"))
        state = RunState(**described["run"])
        tensors = load_file(source / "state.safetensors")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{source} is damaged: {error}; remove it to train from the start") from error
    if state.fingerprint != fingerprint:
        raise IntegrityError(f"{source} was made with other settings or data; remove it, or train without --resume")
    parts: dict[str, dict[str, Tensor]] = {"current": {}, "best": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            index, _, slot = rest.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        else:
            parts[part][rest] = value
    return state, parts["current"], parts["best"], {"state": slots, "param_groups": described["groups"]}

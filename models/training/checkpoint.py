"""A training under way in a folder: safetensors and JSON, nothing pickled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import IntegrityError
from models.training.loop import Loop

_TENSORS, _STEPS = "state.safetensors", "state.json"


def save_checkpoint(loop: Loop, folder: Path) -> None:
    """Write what a worker needs to go on: the first one what all share, each one its own random states."""
    place = loop.place
    own = {
        "order": loop.order.bit_generator.state,
        "draws": loop.draws.bit_generator.state,
        "torch": _as_text(torch.get_rng_state()),
        "cuda": _as_text(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }
    (folder / _own(place.rank)).write_text(json.dumps(own), encoding="utf-8")
    if place.rank:
        return
    described = loop.optimizer.state_dict()
    tensors = {f"network.{name}": value for name, value in loop.lesson.network.state_dict().items()}
    for index, slots in described["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / _TENSORS)
    shared = {
        "epoch": loop.epoch,
        "world": place.world,
        "groups": described["param_groups"],
        "schedule": loop.schedule.state_dict(),
    }
    (folder / _STEPS).write_text(json.dumps(shared), encoding="utf-8")


def load_checkpoint(loop: Loop, folder: Path) -> None:
    """Put a loop where a checkpoint of the same lesson, by as many workers, was taken.

    Raises:
        IntegrityError: it is damaged, or of another training.
    """
    try:
        shared = json.loads((folder / _STEPS).read_text(encoding="utf-8"))
        own = json.loads((folder / _own(loop.place.rank)).read_text(encoding="utf-8"))
        tensors = load_file(folder / _TENSORS)
        if shared["world"] != loop.place.world:
            raise ValueError(f"it is of {shared['world']} workers, and these are {loop.place.world}")
        network: dict[str, Tensor] = {}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            if part == "network":
                network[rest] = value
            else:
                index, _, slot = rest.partition(".")
                slots.setdefault(int(index), {})[slot] = value
        loop.lesson.network.load_state_dict(network)
        loop.optimizer.load_state_dict({"state": slots, "param_groups": shared["groups"]})
        loop.schedule.load_state_dict(shared["schedule"])
        loop.epoch = int(shared["epoch"])
        _restore_random(loop, own)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise IntegrityError(f"{folder} holds no checkpoint of {loop.lesson.name} to go on from: {error}") from error


def _restore_random(loop: Loop, own: dict[str, Any]) -> None:
    loop.order.bit_generator.state = own["order"]
    loop.draws.bit_generator.state = own["draws"]
    torch.set_rng_state(_from_text(own["torch"]))
    if own["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_text(own["cuda"]))


def _own(rank: int) -> str:
    return f"worker-{rank}.json"


def _as_text(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_text(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytes.fromhex(text), np.uint8).copy())

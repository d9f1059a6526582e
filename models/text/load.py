"""The text encoder that the settings name."""

from pathlib import Path

from core.errors import ConfigurationError
from core.ports import TextEncoder
from core.settings import TextEncoderSettings
from models.text.e5 import E5Encoder


def load_text_encoder(settings: TextEncoderSettings, home: Path) -> TextEncoder:
    """Load the encoder for serving. What is derived from installed weights is kept in `home`/cache.

    Raises:
        ConfigurationError: a package or model is not there, and what to do about it.
    """
    if settings.kind == "e5":
        return E5Encoder(prefix=settings.prefix, max_tokens=settings.max_tokens, batch_size=settings.batch_size)
    raise ConfigurationError("text_encoder.kind `huggingface` is not there yet; use `e5`")

"""The text encoder that the settings name."""

from pathlib import Path

from core.errors import ConfigurationError
from core.ports import TextEncoder
from core.settings import TextEncoderSettings
from models.text.memo import MemoEncoder

CACHE = Path("cache") / "text"


def load_text_encoder(settings: TextEncoderSettings, home: Path) -> TextEncoder:
    """Load the encoder for serving. What is derived from installed weights is kept under `home`.

    The kind `huggingface` sets the number of threads torch uses in this process.

    Raises:
        ConfigurationError: a package, a model or a device is not there, and what to do about it.
    """
    encoder = _e5(settings, home) if settings.kind == "e5" else _huggingface(settings)
    return MemoEncoder(encoder, settings.memo) if settings.memo else encoder


def text_encoder_version(settings: TextEncoderSettings) -> str | None:
    """Return the version of the encoder that the settings name; None where only loading it would tell.

    Raises ConfigurationError: a package is not there.
    """
    if settings.kind != "e5":
        return None
    from models.text.e5 import e5_version

    return e5_version(prefix=settings.prefix, max_tokens=settings.max_tokens)


def _e5(settings: TextEncoderSettings, home: Path) -> TextEncoder:
    from models.text.e5 import E5Encoder

    return E5Encoder(home / CACHE, prefix=settings.prefix, max_tokens=settings.max_tokens, threads=settings.threads)


def _huggingface(settings: TextEncoderSettings) -> TextEncoder:
    import torch  # only here: a process that embeds with E5 does without its 600 MB

    from models.text.huggingface import HuggingFaceTextEncoder

    torch.set_num_threads(settings.threads)
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"text_encoder.device is {device!r}, but torch sees no GPU; use `auto` or `cpu`")
    return HuggingFaceTextEncoder(
        settings.model,
        prefix=settings.prefix,
        max_tokens=settings.max_tokens,
        batch_size=settings.batch_size,
        device=device,
    )

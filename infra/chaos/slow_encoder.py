"""An image encoder that can be made slow while it runs. Everything else about the service is the real one.

`python -m infra.chaos.slow_encoder` serves as `python -m infra.entry.serve` does, with this encoder.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.ports import ImageEncoder
from core.settings import Settings, load_settings
from serving.encoder import EncoderParts, ImageEncoderService, open_parts


class Slowness:
    """How long which replicas take for a forward pass: a file, so that those who make slow and those who are meet."""

    def __init__(self, home: Path) -> None:
        self._file = home.resolve() / "run" / "slow-encoder.json"

    def set(self, pids: Sequence[int], delay_s: float) -> None:
        """Let each pass of these processes take so much longer; no processes: as fast as they are."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        written = self._file.with_suffix(".new")
        written.write_bytes(msgspec.json.encode({str(pid): delay_s for pid in pids}))
        written.replace(self._file)

    def here_s(self) -> float:
        """Return what this process has to wait at each pass."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, float]).get(str(os.getpid()), 0.0)
        except FileNotFoundError:
            return 0.0


class SlowEncoder(ImageEncoder):
    """An encoder that waits before each pass, as one whose processor has other things to do."""

    def __init__(self, encoder: ImageEncoder, slowness: Slowness) -> None:
        self._encoder = encoder
        self._slowness = slowness

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def version(self) -> str:
        return self._encoder.version

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See the port."""
        time.sleep(self._slowness.here_s())
        return self._encoder.encode(images)


def open_slow_parts(settings: Settings) -> EncoderParts:
    """Open what the real service opens, with an encoder that can be made slow."""
    parts = open_parts(settings)
    return replace(parts, encoder=SlowEncoder(parts.encoder, Slowness(settings.home)))


class SlowImageEncoderService(ImageEncoderService):
    """The service that is deployed in place of the real one."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, open_slow_parts)


def main() -> None:
    """Serve until a signal, with the slow encoder where `serving.app` deploys the real one."""
    import serving.encoder
    from infra.chaos import slow_encoder  # by its name: Ray would send the classes of `__main__` by value
    from infra.entry.serve import run_serve

    serving.encoder.ImageEncoderService = slow_encoder.SlowImageEncoderService  # type: ignore[misc,assignment]
    run_serve(load_settings())


if __name__ == "__main__":
    main()

"""The gateway under plain uvicorn, with vectors that are hashes: for goals about the collector.

Everything but the model is what Ray Serve runs. `python -m tests.chaos.gateway_process`
"""

from collections.abc import Sequence

import uvicorn

from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure
from core.settings import load_settings
from serving.gateway.api import create_api
from serving.gateway.dependencies import open_gateway
from tests.chaos.cheap_encoder import vector_of


class Hashes(EmbeddingService):
    async def encode_media(
        self, media_ids: Sequence[str], *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> list[EncodedImage | EncodeFailure]:
        return [EncodedImage(vector_of(media_id), "0" * 16, 96, 96, "cheap/1") for media_id in media_ids]

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        return EncodedImage(vector_of(data.hex()), "0" * 16, 96, 96, "cheap/1")


if __name__ == "__main__":
    settings = load_settings()
    deps = open_gateway(settings, Hashes(), dim=64, model_version="cheap/1")
    uvicorn.run(create_api(deps), host=settings.http.host, port=settings.http.port, log_level="warning")

"""An embedding service without processes or models, for tests of what uses one."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.errors import Unavailable
from core.ids import is_media_id
from core.ports import Crop, EncodedImage, EncodeFailure, ObjectStore
from models.media.decoder import check_crop


class FakeEmbeddingService:
    """Embeds bytes as a direction derived from their hash. Text beginning with "broken" is an undecodable image.

    `store` holds the media; `unavailable`, once set, is raised by every call; `nsfw` says what `signals` say of a
    media id (0 of those it does not name).
    """

    dim = 32

    def __init__(self, store: ObjectStore, *, model_version: str = "visual-search/fake") -> None:
        self.store = store
        self.model_version = model_version
        self.unavailable: Unavailable | None = None
        self.nsfw: dict[str, float] = {}
        self.calls: list[list[str]] = []

    async def encode_media(
        self,
        media_ids: Sequence[str],
        *,
        crop: Crop | None = None,
        timeout_s: float = 10.0,
        signals: bool = False,
    ) -> list[EncodedImage | EncodeFailure]:
        self.calls.append(list(media_ids))
        results: list[EncodedImage | EncodeFailure] = []
        for media_id in media_ids:
            if not is_media_id(media_id):
                results.append(EncodeFailure("invalid-input", f"{media_id!r} is not a media id", transient=False))
            elif not await self.store.exists(media_id):
                results.append(EncodeFailure("missing-media", f"no media {media_id}", transient=False))
            else:
                result = await self.encode_bytes(await self.store.get(media_id), crop=crop)
                if signals and isinstance(result, EncodedImage):
                    result = replace(result, nsfw=self.nsfw.get(media_id, 0.0))
                results.append(result)
        return results

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        if self.unavailable is not None:
            raise self.unavailable
        box = check_crop(crop)
        if data.startswith(b"broken") or not data:
            return EncodeFailure("unsupported-media", "not an image", transient=False)
        digest = hashlib.sha256(data + repr(box).encode()).digest()
        vector = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
        return EncodedImage(vector / np.linalg.norm(vector), digest[:8].hex(), 400, 200, self.model_version)

"""Thumbnails: small JPEGs made from decoded pixels, kept in memory while they are asked for."""

import asyncio
import io
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.ports import ObjectStore
from models.media.decoder import MediaDecoder


class Thumbnails:
    """Makes and remembers thumbnails, at most `max_bytes` of them. For one event loop."""

    def __init__(self, objects: ObjectStore, decoder: MediaDecoder, *, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._objects = objects
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0

    async def get(self, media_id: str) -> bytes:
        """Return the thumbnail of stored media as JPEG.

        Raises MissingMedia, a MediaError for bytes that do not decode, Unavailable.
        """
        if media_id in self._made:
            self._made.move_to_end(media_id)
            return self._made[media_id]
        decoded = await self._decoder.decode(await self._objects.get(media_id), frames=1)  # the middle of a video
        data = await asyncio.to_thread(_jpeg, decoded.pixels)
        if media_id not in self._made:  # somebody else may have made it meanwhile
            self._made[media_id] = data
            self._size_bytes += len(data)
        while self._size_bytes > self._max_bytes:
            _, oldest = self._made.popitem(last=False)
            self._size_bytes -= len(oldest)
        return data


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()

"""What the image encoder says about the media of posts: remembered, because one picture is posted many times."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from core.errors import Unavailable
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure

Look = EncodedImage | EncodeFailure


class NoMedia(EmbeddingService):
    """The embedding service of a system that has none: every medium is one that could not be looked at."""

    async def encode_media(
        self, media_ids: Sequence[str], *, crop: Crop | None = None, timeout_s: float = 10.0, signals: bool = False
    ) -> list[EncodedImage | EncodeFailure]:
        return [EncodeFailure("no-encoder", "this system has no image encoder", transient=False) for _ in media_ids]

    async def encode_bytes(
        self, data: bytes, *, crop: Crop | None = None, timeout_s: float = 10.0
    ) -> EncodedImage | EncodeFailure:
        return EncodeFailure("no-encoder", "this system has no image encoder", transient=False)


class MediaLooks:
    """Asks the embedding service, with signals. For one event loop."""

    def __init__(self, embedding: EmbeddingService, *, remembered: int = 20_000) -> None:
        self._embedding = embedding
        self._remembered = remembered
        self._known: OrderedDict[str, EncodedImage] = OrderedDict()

    async def look(self, media_ids: Sequence[str], timeout_s: float) -> dict[str, Look]:
        """Return what is known of each medium, by id. Never raises: a service that is away fails each of them."""
        wanted = list(dict.fromkeys(media_ids))
        new = [media_id for media_id in wanted if media_id not in self._known]
        found: dict[str, Look] = {}
        if new:
            try:
                answers = await self._embedding.encode_media(new, timeout_s=timeout_s, signals=True)
            except Unavailable as error:
                answers = [EncodeFailure(error.code, str(error), transient=True) for _ in new]
            found = dict(zip(new, answers, strict=True))
            self._known |= {media_id: one for media_id, one in found.items() if isinstance(one, EncodedImage)}
        for media_id in wanted:
            if media_id in self._known:
                self._known.move_to_end(media_id)
                found[media_id] = self._known[media_id]
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return found

    async def parts(self, media_id: str, crops: Sequence[Crop], timeout_s: float) -> list[Look]:
        """Return what is known of parts of an image, in the order asked. Never raises."""

        async def one(crop: Crop) -> Look:
            try:
                [answer] = await self._embedding.encode_media([media_id], crop=crop, timeout_s=timeout_s, signals=True)
            except Unavailable as error:
                return EncodeFailure(error.code, str(error), transient=True)
            return answer

        return list(await asyncio.gather(*(one(crop) for crop in crops)))

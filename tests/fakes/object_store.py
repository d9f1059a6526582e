"""An ObjectStore in a dictionary."""

from core.errors import IntegrityError, InvalidInput, MissingMedia
from core.ids import is_media_id, media_id
from core.ports import ObjectStore


class FakeObjectStore(ObjectStore):
    """Keeps bytes in `objects`, by media id; a test may change them there to damage them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        digest = media_id(data)
        self.objects[digest] = data
        return digest

    async def get(self, media_id: str) -> bytes:
        _check(media_id)
        if media_id not in self.objects:
            raise MissingMedia(f"no object {media_id}")
        data = self.objects[media_id]
        if _hash(data) != media_id:
            raise IntegrityError(f"the object {media_id} is damaged")
        return data

    async def exists(self, media_id: str) -> bool:
        _check(media_id)
        return media_id in self.objects

    async def delete(self, media_id: str) -> None:
        _check(media_id)
        self.objects.pop(media_id, None)


_hash = media_id


def _check(value: str) -> None:
    if not is_media_id(value):
        raise InvalidInput(f"not a media id: {value[:80]!r}")

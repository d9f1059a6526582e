"""The image encoder with what it has in a fresh installation: the weights that ship with the code."""

import pytest

from core.ports import EncodedImage
from core.settings import Settings
from serving.encoder import ImageEncoderService
from storage.objects import open_object_store
from tests.unit.models.media.pictures import encoded, noise, quadrants, smooth

pytestmark = [pytest.mark.integration, pytest.mark.serve]


async def test_a_picture_is_nearer_to_its_own_copy_than_to_another_picture(tmp_path):
    settings = Settings(home=tmp_path)
    store = open_object_store(settings.objects_url)
    pictures = [quadrants(), smooth(300, 200, seed=3), noise(300, 200, seed=4)]
    originals = [await store.put(encoded(picture)) for picture in pictures]
    service = ImageEncoderService(settings)
    try:
        version, dim = await service.describe()
        known = await service.encode_media(originals, timeout_s=60)
        for number, picture in enumerate(pictures):
            copy = encoded(picture.resize((150, 100)), "JPEG", quality=80)
            found = await service.encode_bytes(copy, timeout_s=60)
            assert isinstance(found, EncodedImage)
            assert found.vector.shape == (dim,)
            assert found.model_version == version
            scores = [float(found.vector @ other.vector) for other in known]
            assert scores.index(max(scores)) == number
    finally:
        service.close()

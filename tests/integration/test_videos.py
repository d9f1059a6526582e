"""A video from its upload to being found, with the real decoder, encoder, indexer, catalogue and index."""

from datetime import UTC, datetime

import pytest
from PIL import Image

from core import topics
from core.entries import decode_entry
from core.events import Upload, UploadCreated
from core.ports import StoredRecord
from core.settings import CatalogueSettings, IndexSettings, Settings
from models.index.live import LiveIndex
from serving.encoder import ImageEncoderService
from storage.catalogue import Catalogue
from storage.objects import open_object_store
from streams.agents.index_upload import UploadIndexer
from streams.decoding import Delivered
from tests.fakes.publisher import FakePublisher
from tests.unit.models.media.pictures import encoded, smooth
from tests.unit.models.media.videos import video

pytestmark = [pytest.mark.integration, pytest.mark.serve]


def scene(seed: int, index: int) -> Image.Image:
    """Return what a camera sees that pans over a picture."""
    return smooth(200, 120, seed=seed).crop((index, 0, index + 160, 120))


def panned(seed: int) -> bytes:
    return video(frames=16, size=(160, 120), gop=8, picture=lambda index: scene(seed, index))


def upload(item_id: str, media_id: str, offset: int) -> Delivered:
    data = Upload(item_id=item_id, owner_id="o", kind="video", media_id=media_id)
    event = UploadCreated(id=f"e-{item_id}", source="t", time=datetime.now(UTC), subject=item_id, data=data)
    return Delivered(event, b"{}", StoredRecord(topics.UPLOADS.name, 0, offset, item_id, b"{}", {}, 0))


async def test_an_uploaded_video_is_indexed_and_found_by_a_picture_of_what_it_shows(tmp_path):
    settings = Settings(home=tmp_path)
    store = open_object_store(settings.objects_url)
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    service, publisher = ImageEncoderService(settings), FakePublisher()
    version, dim = await service.describe()
    index = LiveIndex(dim, version, IndexSettings())
    try:
        handle = UploadIndexer(catalogue, service, publisher, 60.0)
        ids = {f"item-{seed}": await store.put(panned(seed)) for seed in range(4)}
        broken = await store.put(panned(9)[:600])
        uploads = [upload(item, media, place) for place, (item, media) in enumerate({**ids, "bad": broken}.items())]
        rejected = await handle(uploads)
        assert [(one.item.event.subject, one.error.code) for one in rejected] == [("bad", "undecodable-media")]
        for record in publisher.of(topics.INDEX_ENTRIES.name):
            assert index.apply(decode_entry(record.value))
        for seed, item in enumerate(ids):
            still = encoded(scene(seed, 11).resize((240, 180)), "JPEG")
            found = await service.encode_bytes(still, timeout_s=60)
            best = index.search(found.vector, 1)[0].entry
            assert (best.item_id, best.kind) == (item, "video")
    finally:
        service.close()
        index.close()
        catalogue.close()

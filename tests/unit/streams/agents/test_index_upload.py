"""The upload indexer over a real catalogue (SQLite) with fake publisher and embeddings."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core import topics
from core.entries import VERSION_HEADER, Version, decode_entry
from core.errors import InvalidInput, NotFound, Unavailable
from core.events import (
    ItemRef,
    Upload,
    UploadChange,
    UploadChanged,
    UploadCreated,
    UploadDeleted,
    UploadHidden,
    UploadHiding,
)
from core.ports import EncodedImage, EncodeFailure, StoredRecord
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from streams.agents.index_upload import NAME, UploadIndexer
from streams.decoding import Delivered
from tests.fakes.publisher import FakePublisher

T0 = datetime(2026, 11, 22, 10, tzinfo=UTC)
MEDIA, OTHER_MEDIA, BROKEN, BUSY, LATE = "a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64


class FakeEmbeddings:
    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []

    async def encode_media(self, media_ids: Sequence[str], *, crop=None, timeout_s=10.0):
        if self.down:
            raise Unavailable("embedding service: connection refused")
        self.asked += media_ids
        return [self._one(media_id) for media_id in media_ids]

    def _one(self, media_id: str):
        if media_id == BROKEN:
            return EncodeFailure("undecodable-media", "not an image", transient=False)
        if media_id == BUSY:
            return EncodeFailure("unavailable", "queue full", transient=True)
        if media_id == LATE:
            return EncodeFailure("timeout", "not embedded before the deadline", transient=True)
        return EncodedImage(np.array([1.0, 0.0], np.float32), "0" * 16, 8, 8, "test/1")


class Setup:
    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.publisher = FakePublisher()
        self.embeddings = FakeEmbeddings()
        self.handle = UploadIndexer(catalogue, self.embeddings, self.publisher, 1.0)

    async def __call__(self, *events):
        return await self.handle([deliver(event) for event in events])

    def published(self, item_id="item-1"):
        records = [record for record in self.publisher.of(topics.INDEX_ENTRIES.name) if record.key == item_id]
        return [decode_entry(record.value) if record.value is not None else record for record in records]


@pytest.fixture
def indexer(tmp_path):
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    yield Setup(catalogue)
    catalogue.close()


def deliver(event, offset: int | None = None) -> Delivered:
    place = int((event.time - T0).total_seconds() * 10) if offset is None else offset
    return Delivered(event, b"{}", StoredRecord(topics.UPLOADS.name, 0, place, event.subject, b"{}", {}, 0))


def made(cls, name: str, after_s: float, data):
    return cls(id=name, source="t", time=T0 + timedelta(seconds=after_s), subject=data.item_id, data=data)


def create(name="e-create", after_s=1.0, item="item-1", media=MEDIA, **fields):
    data = Upload(item_id=item, owner_id="o", kind="image", media_id=media, **fields)
    return made(UploadCreated, name, after_s, data)


def change(name="e-change", after_s=2.0, item="item-1", **fields):
    return made(UploadChanged, name, after_s, UploadChange(item_id=item, **fields))


def hide(name="e-hide", after_s=3.0, item="item-1", hidden=True):
    return made(UploadHidden, name, after_s, UploadHiding(item_id=item, hidden=hidden))


def delete(name="e-delete", after_s=4.0, item="item-1"):
    return made(UploadDeleted, name, after_s, ItemRef(item_id=item))


async def test_indexing_the_same_upload_twice_leaves_one_entry(indexer):
    assert await indexer(create(title="Zebra", tags=["zebra"])) == []
    assert await indexer(create(title="Zebra", tags=["zebra"])) == []
    (entry,) = indexer.published()
    assert (entry.title, entry.tags, entry.state, entry.model_version) == ("Zebra", ["zebra"], "active", "test/1")
    assert entry.version == Version.of(T0 + timedelta(seconds=1), 10)
    assert indexer.catalogue.item("item-1").version == entry.version
    assert indexer.catalogue.seen(NAME, ["e-create"]) == {"e-create"}


async def test_events_of_one_item_in_one_batch_are_applied_in_the_order_of_their_versions(indexer):
    assert await indexer(change(title="new", tags=["b"]), create(title="old", description="kept")) == []
    (entry,) = indexer.published()
    assert (entry.title, entry.description, entry.tags) == ("new", "kept", ["b"])
    assert indexer.catalogue.seen(NAME, ["e-create", "e-change"]) == {"e-create", "e-change"}


async def test_a_change_that_is_older_than_what_is_there_changes_nothing(indexer):
    await indexer(create(after_s=5, title="newer"))
    assert await indexer(change(after_s=2, title="older")) == []
    assert len(indexer.published()) == 1
    assert indexer.catalogue.seen(NAME, ["e-change"]) == {"e-change"}


async def test_a_change_of_an_unknown_item_is_not_found_and_can_be_replayed_later(indexer):
    (rejected,) = await indexer(change(title="x"))
    assert isinstance(rejected.error, NotFound)
    assert indexer.catalogue.seen(NAME, ["e-change"]) == set()
    await indexer(create())
    assert await indexer(change(title="x")) == []
    assert indexer.published()[-1].title == "x"


async def test_hiding_takes_the_item_out_even_while_the_embedding_service_is_down(indexer):
    await indexer(create())
    indexer.embeddings.down = True
    assert await indexer(hide()) == []
    assert indexer.published()[-1].state == "hidden"
    restarted = Setup(indexer.catalogue)
    restarted.embeddings.down = True
    await restarted(hide("e-hide-2", 3.5))
    (tombstone,) = restarted.published()
    assert tombstone.value is None
    assert Version.from_header(tombstone.headers[VERSION_HEADER]).time_us == Version.of(T0, 0).time_us + 3_500_000
    restarted.embeddings.down = False
    await restarted(hide("e-show", 4, hidden=False))
    assert restarted.published()[-1].state == "active"


async def test_a_removal_does_not_wait_for_the_uploads_beside_it(indexer):
    await indexer(create())
    indexer.embeddings.down = True
    with pytest.raises(Unavailable):
        await indexer(delete(), create("e-2", item="item-2"))
    assert indexer.published()[-1].value is None
    assert indexer.catalogue.item("item-1").state == "deleted"
    assert indexer.catalogue.seen(NAME, ["e-delete", "e-2"]) == {"e-delete"}


@pytest.mark.parametrize("end", [hide(), delete()])
async def test_a_create_that_arrives_after_its_end_stays_out(indexer, end):
    await indexer(end)
    assert await indexer(create(title="late")) == []
    assert all(getattr(record, "value", None) is None for record in indexer.published())
    item = indexer.catalogue.item("item-1")
    assert item.state == ("hidden" if isinstance(end, UploadHidden) else "deleted")


async def test_an_item_hidden_before_it_arrived_can_be_shown_later(indexer):
    await indexer(hide())
    await indexer(create(title="late"))
    await indexer(hide("e-show", 5, hidden=False))
    entry = indexer.published()[-1]
    assert (entry.state, entry.title) == ("active", "late")


async def test_a_deleted_item_does_not_come_back_through_older_events_and_keeps_no_personal_fields(indexer):
    await indexer(create(title="secret"))
    await indexer(delete())
    await indexer(hide(after_s=3.5, hidden=False), change(after_s=3.6, title="again"))
    assert indexer.published()[-1].value is None
    assert indexer.catalogue.item("item-1").title == ""


async def test_media_that_can_never_be_embedded_is_rejected_and_its_neighbours_are_indexed(indexer):
    rejected = await indexer(create("e-bad", item="bad", media=BROKEN), create("e-good", item="good"))
    (refused,) = rejected
    assert (refused.item.event.id, refused.error.code) == ("e-bad", "undecodable-media")
    assert isinstance(refused.error, InvalidInput)
    assert indexer.catalogue.item("bad") is None
    assert len(indexer.published("good")) == 1
    assert indexer.catalogue.seen(NAME, ["e-bad", "e-good"]) == {"e-good"}


async def test_media_that_could_be_embedded_later_is_worth_another_try(indexer):
    (rejected,) = await indexer(create(media=BUSY))
    assert isinstance(rejected.error, Unavailable)
    assert indexer.published() == []


async def test_when_no_image_was_embedded_in_time_the_service_is_waited_for(indexer):
    with pytest.raises(Unavailable, match="none of 1 images"):
        await indexer(create(media=LATE), create("e-2", item="item-2", media=LATE))
    assert indexer.published() == []
    (rejected,) = await indexer(create(media=LATE), create("e-3", item="item-3"))
    assert (rejected.item.event.id, type(rejected.error)) == ("e-create", Unavailable)
    assert indexer.published("item-3")


async def test_nothing_is_remembered_when_the_entry_was_not_acknowledged(indexer):
    indexer.publisher.down = True
    with pytest.raises(Unavailable):
        await indexer(create())
    assert indexer.catalogue.item("item-1") is None
    assert indexer.catalogue.seen(NAME, ["e-create"]) == set()


async def test_media_shared_by_items_of_a_batch_is_embedded_once(indexer):
    await indexer(create("e1", item="i1"), create("e2", item="i2"), create("e3", item="i3", media=OTHER_MEDIA))
    assert sorted(indexer.embeddings.asked) == [MEDIA, OTHER_MEDIA]

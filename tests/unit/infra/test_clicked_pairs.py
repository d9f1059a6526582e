"""Clicks of the running system as training pairs, over a real catalogue, archive and object store in a folder."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.entries import Version
from core.errors import ConfigurationError, InvalidInput
from core.events import (
    Click,
    Event,
    Interaction,
    Upload,
    UploadChange,
    UploadChanged,
    UploadCreated,
    UserErased,
    UserRef,
    encode,
)
from core.ids import media_id
from core.ports import StoredRecord
from core.settings import Settings
from core.topics import INTERACTIONS, UPLOADS, USERS, Topic
from features.archive import ArchiveWriter
from infra.clicked_pairs import ClickedPairs, clicked_pairs
from models.datasets.spec import LabelledImage
from models.datasets.splits import emoji_family, split_of
from models.visual_search.data import training_data
from storage.catalogue import Catalogue, Item, TraceRecord
from storage.objects import open_object_store

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def png(colour: int, px: int = 32) -> bytes:
    """A picture whose left half is red and whose right half has a colour of its own."""
    pixels = np.zeros((px, px, 3), np.uint8)
    pixels[:, : px // 2] = (255, 0, 0)
    pixels[:, px // 2 :] = (0, colour, 255 - colour)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class World:
    """A system that has run: `upload`, `answer` and `click` leave what the real ones leave; `pairs` trains."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.catalogue = Catalogue.open(self.settings.catalogue_url, self.settings.catalogue)
        self.store = open_object_store(self.settings.objects_url)
        self.archive = ArchiveWriter(home / "archive")
        self._offset = 0

    def record(self, topic: Topic, event: Event) -> None:
        at = int(event.time.timestamp() * 1000)
        self.archive.write(
            topic.name, [StoredRecord(topic.name, 0, self._offset, event.subject, encode(event), {}, at)]
        )
        self._offset += 1

    def media(self, data: bytes) -> str:
        return asyncio.run(self.store.put(data))

    def upload(self, item_id: str, data: bytes, **changes: object) -> str:
        stored = self.media(data)
        upload = Upload(item_id=item_id, owner_id="owner", kind="image", media_id=stored)
        self.record(UPLOADS, UploadCreated(id=f"up-{item_id}", source="t", time=START, subject=item_id, data=upload))
        item = Item(
            item_id=item_id,
            owner_id="owner",
            kind="image",
            media_id=stored,
            title="",
            description="",
            tags=(),
            language="und",
            category="",
            visibility="public",
            blocked_regions=(),
            state="active",
            unsafe=False,
            version=Version.of(START, 0),
            event_id=f"up-{item_id}",
            created_at=START,
            updated_at=START,
        )
        self.catalogue.apply_items("test", [(item.event_id, replace(item, **changes))])
        return stored

    def change(self, item_id: str, seq: int = 1, **changes: object) -> None:
        item = self.catalogue.item(item_id)
        assert item is not None
        later = replace(item, version=Version.of(START, seq), **changes)
        self.catalogue.apply_items("test", [(f"change-{item_id}-{seq}", later)])

    def answer(
        self, trace_id: str, asked: dict[str, object], shown: Sequence[str], kind: str = "visual_search"
    ) -> None:
        candidates: list[dict[str, object]] = [{"item_id": item, "position": n} for n, item in enumerate(shown)]
        candidates.append({"item_id": "cut-off", "position": None, "reason": "min_score"})
        payload = {"asked": asked, "candidates": candidates}
        self.catalogue.put_traces([TraceRecord(trace_id, kind, START + timedelta(hours=1), payload)])

    def click(self, item: str, trace: str | None, *, user: str = "user-1", position: int | None = None) -> None:
        data = Interaction(user_id=user, item_id=item, surface="visual_search", position=position, trace_id=trace)
        at = START + timedelta(hours=2, seconds=self._offset)
        click = Click(id=f"click-{self._offset}", source="t", time=at, subject=user, data=data)
        self.record(INTERACTIONS, click)

    def pairs(self, minimum: int = 1, datasets: Sequence[str] = ()) -> ClickedPairs:
        return clicked_pairs(self.settings, self.settings.home / "clicked", datasets=datasets, minimum=minimum)

    def refused(self) -> str:
        with pytest.raises(InvalidInput) as refusal:
            self.pairs()
        return str(refusal.value)


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.catalogue.close()


def test_a_click_pairs_the_query_with_the_clicked_image_and_weighs_by_position(world: World) -> None:
    query = world.media(png(10))
    first, deep = world.upload("first", png(20)), world.upload("deep", png(30))
    world.answer("t1", {"media_id": query}, ["first", "x", "y", "deep"])
    world.click("first", "t1", position=0)
    world.click("deep", "t1", position=3)
    found = world.pairs()
    (query_path, first_path, first_weight), (same_query, deep_path, deep_weight) = found.pairs
    assert [path.stem for path in (query_path, first_path, deep_path)] == [query, first, deep]
    assert same_query == query_path
    # The position-based model at eta 1: position 3 (from 0) is looked at a quarter as often as position 0.
    assert (first_weight, deep_weight) == (pytest.approx(0.4), pytest.approx(1.6))
    assert np.array_equal(np.asarray(Image.open(first_path)), np.asarray(Image.open(io.BytesIO(png(20)))))
    assert (found.clicks, found.users, found.left_out) == (2, 1, {})


def test_a_click_without_a_position_takes_it_from_the_answer(world: World) -> None:
    world.upload("a", png(20))
    world.upload("b", png(30))
    world.answer("t1", {"media_id": world.media(png(10))}, ["a", "b"])
    world.click("a", "t1")
    world.click("b", "t1")
    assert [weight for _, _, weight in world.pairs().pairs] == [pytest.approx(2 / 3), pytest.approx(4 / 3)]


def test_a_user_has_one_vote_on_a_pair_and_another_user_another(world: World) -> None:
    world.upload("a", png(20))
    query = world.media(png(10))
    for trace in ("t1", "t2"):
        world.answer(trace, {"media_id": query}, ["a"])
    for _ in range(100):
        world.click("a", "t1", user="fan")
    world.click("a", "t2", user="fan")
    world.click("a", "t2", user="other")
    found = world.pairs()
    assert len(found.pairs) == 2
    assert found.left_out == {"repeated": 100}
    assert found.as_dict()["pairs"] == 1


def test_a_query_by_item_and_by_crop_is_trained_on_as_it_was_asked(world: World) -> None:
    world.upload("asked", png(10))
    world.upload("a", png(20))
    world.answer("t1", {"item_id": "asked", "crop": [0.0, 0.0, 0.5, 1.0]}, ["a"])
    world.click("a", "t1")
    [(query, _, _)] = world.pairs().pairs
    assert (np.asarray(Image.open(query)) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "hidden"},
        {"state": "deleted"},
        {"visibility": "private"},
        {"visibility": "unlisted"},
        {"unsafe": True},
    ],
    ids=lambda changes: next(iter(changes.values())),
)
@pytest.mark.parametrize("which", ["a", "asked"])
def test_what_may_not_be_shown_is_not_learned_from(world: World, which: str, changes: dict[str, object]) -> None:
    world.upload("a", png(20))
    stored = world.upload("asked", png(10))
    world.answer("t1", {"item_id": "asked"}, ["a"])
    world.answer("t2", {"media_id": stored}, ["a"])  # the same image, asked for by its media
    for trace in ("t1", "t2"):
        world.click("a", trace, user=trace)
    assert len(world.pairs().pairs) == 2
    world.change(which, **changes)
    assert "2 removed" in world.refused()


def test_canary_items_and_erased_users_teach_nothing(world: World) -> None:
    world.upload("probe", png(20), category="riverlight.canary")
    world.upload("a", png(30))
    world.answer("t1", {"media_id": world.media(png(10))}, ["probe", "a"])
    world.click("probe", "t1")
    world.click("a", "t1", user="gone")
    erased = UserErased(id="e", source="t", time=START, subject="gone", data=UserRef(user_id="gone"))
    world.record(USERS, erased)
    assert "1 canary" in world.refused()
    assert "1 user-erased" in world.refused()


def test_an_item_that_shows_another_image_now_is_left_out(world: World) -> None:
    world.upload("a", png(20))
    new = world.media(png(40))
    world.answer("t1", {"media_id": world.media(png(10))}, ["a"])
    world.click("a", "t1")
    change = UploadChange(item_id="a", media_id=new)
    later = START + timedelta(hours=3)
    world.record(UPLOADS, UploadChanged(id="c", source="t", time=later, subject="a", data=change))
    world.change("a", media_id=new)
    assert "1 replaced" in world.refused()


def test_clicks_that_no_answer_vouches_for_are_left_out_and_said_so(world: World) -> None:
    stored = world.upload("a", png(20))
    world.answer("by-file", {"file": True}, ["a"])
    world.answer("itself", {"media_id": stored}, ["a"])
    world.answer("home", {}, ["a"], kind="recommendations")
    world.answer("t1", {"media_id": world.media(png(10))}, ["b"])
    for trace in (None, "unknown", "by-file", "itself", "home", "t1"):
        world.click("a", trace)
    world.click("cut-off", "t1")
    message = world.refused()
    assert message.startswith("0 of 7 archived clicks can be learned from")
    for expected in ("2 no-trace", "1 query-not-stored", "1 same-image", "1 other-answer", "2 not-shown"):
        assert expected in message


def test_an_image_whose_bytes_are_gone_or_do_not_decode_is_left_out(world: World) -> None:
    world.upload("broken", b"\x89PNG\r\n\x1a\n and nothing else")
    world.upload("gone", png(20))
    world.upload("a", png(30))
    world.answer("t1", {"media_id": world.media(png(10))}, ["broken", "gone", "a"])
    for item in ("broken", "gone", "a"):
        world.click(item, "t1")
    asyncio.run(world.store.delete(media_id(png(20))))
    found = world.pairs()
    assert len(found.pairs) == 1
    assert found.left_out == {"unreadable": 2}


def test_a_data_set_that_is_not_installed_is_named_before_anything_is_collected(world: World) -> None:
    with pytest.raises(ConfigurationError, match="riverlight data install emoji"):
        world.pairs(datasets=["emoji"])


def test_too_few_clicks_are_refused_with_the_numbers(world: World) -> None:
    assert "0 of 0 archived clicks" in world.refused()
    world.upload("a", png(20))
    world.answer("t1", {"media_id": world.media(png(10))}, ["a"])
    world.click("a", "t1")
    with pytest.raises(InvalidInput, match="1 of 1 archived clicks can be learned from, and 20 are needed"):
        world.pairs(minimum=20)


def emoji_of(home: Path, split: str, number: int) -> tuple[Path, bytes]:
    """Add an emoji of a split to the installed data set; return its file and bytes."""
    folder = home / "data" / "emoji"
    for vendor in ("google", "twitter"):
        (folder / vendor).mkdir(parents=True, exist_ok=True)
    listing = folder / "emoji.json"
    entries = json.loads(listing.read_text()) if listing.exists() else []
    used = {entry["unified"] for entry in entries}
    codes = (f"{code:X}" for code in range(0x1F400, 0x1F600))
    name = next(code for code in codes if code not in used and split_of(emoji_family(code)) == split)
    path = folder / "google" / f"{name.lower()}.png"
    path.write_bytes(png(number))
    (folder / "twitter" / path.name).write_bytes(png(number + 100))
    entry = dict.fromkeys(("unified", "name"), name) | {"short_names": [name], "category": "c", "subcategory": "s"}
    entry |= {"image": path.name, "has_img_google": True, "has_img_twitter": True}
    listing.write_text(json.dumps([*entries, entry]))
    (folder / "dataset.json").write_text(json.dumps({"images": 2 * len(entries) + 2}))
    return path, path.read_bytes()


def test_training_data_holds_the_clicks_and_no_image_that_models_are_measured_on(world: World, tmp_path: Path) -> None:
    learned, learned_bytes = emoji_of(tmp_path, "train", 50)
    other, _ = emoji_of(tmp_path, "train", 55)
    tests = [emoji_of(tmp_path, split, 60 + n)[1] for n, split in enumerate(("validation", "test"))]
    world.upload("known", learned_bytes)
    world.upload("new", png(20))
    for number, data in enumerate(tests):
        world.upload(f"held-{number}", data)
    world.answer("t1", {"media_id": world.media(png(10))}, ["known", "new", "held-0", "held-1"])
    world.answer("t2", {"media_id": media_id(tests[1])}, ["new"])
    for item in ("known", "new", "held-0", "held-1"):
        world.click(item, "t1")
    world.click("new", "t2")

    found = world.pairs(datasets=["emoji"])
    assert found.left_out == {"held-out": 3}
    assert found.pairs[0][1] == learned, "an image of the data set is used as it is, not a second time"

    validation = [
        LabelledImage(tmp_path / f"v{n}.png", f"v{n // 2}", str(n % 2), "", (), "", "validation") for n in range(4)
    ]
    train = [LabelledImage(path, path.stem, "google", path.stem, (), "", "train") for path in (learned, other)]
    data = training_data([*train, *validation], clicks=found.pairs)
    by_click = [(data.images[pair.left], data.images[pair.right], pair.weight) for pair in data.pairs]
    assert by_click == found.pairs
    hashes = {media_id(path.read_bytes()) for path in data.images}
    assert not hashes & {media_id(data) for data in tests}
    assert len(data.images) == 4, "two of the data set, the query, and the new item"

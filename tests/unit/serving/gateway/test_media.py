import io

import numpy as np
import pytest
from PIL import Image

from core.ids import media_id
from tests.unit.models.media.videos import CODECS, place, video
from tests.unit.serving.gateway.conftest import picture


async def post(world, data: bytes, name: str = "a.png"):
    return await world.client.post("/v1/media", files={"file": (name, data)})


async def test_an_image_is_stored_and_recorded_before_the_answer(world):
    data = picture()
    answer = await post(world, data)
    assert answer.status_code == 201
    assert answer.json() == {
        "media_id": media_id(data),
        "kind": "image",
        "mime": "image/png",
        "width": 24,
        "height": 18,
        "duration_s": None,
    }
    assert await world.deps.objects.get(media_id(data)) == data
    record = world.deps.catalogue.media(media_id(data))
    assert (record.mime, record.width, record.height, record.size_bytes) == ("image/png", 24, 18, len(data))


@pytest.mark.parametrize(("made", "mime"), CODECS.items())
async def test_a_video_is_stored_and_recorded_with_its_length(world, made, mime):
    data = video(*made, frames=30, size=(96, 64))
    answer = await post(world, data, "a.bin")
    assert answer.status_code == 201
    stored = answer.json()
    assert stored.pop("duration_s") == pytest.approx(3.0, abs=0.2)
    assert stored == {"media_id": media_id(data), "kind": "video", "mime": mime, "width": 96, "height": 64}
    record = world.deps.catalogue.media(media_id(data))
    assert (record.kind, record.mime, record.size_bytes) == ("video", mime, len(data))
    assert record.duration_s == pytest.approx(3.0, abs=0.2)


async def test_the_same_bytes_again_give_the_same_id(world):
    first, second = await post(world, picture()), await post(world, picture())
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-media"),
        (b"not an image at all", 415, "unsupported-media"),
        (picture()[:40], 400, "undecodable-media"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 400, "undecodable-media"),
        (video()[:500], 400, "undecodable-media"),
        (b"\x00\x00\x00\x20ftypisom" + b"\0" * 100, 400, "undecodable-media"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/", 415, "unsupported-media"),
        (b"", 400, "invalid-request"),
    ],
)
async def test_what_is_no_usable_image_is_refused_and_not_stored(world, data, status, code):
    answer = await post(world, data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not await world.deps.objects.exists(media_id(data))


async def test_a_file_over_the_limit_is_refused(world):
    answer = await post(world, b"\x89PNG" + b"\0" * 700_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    "request_of",
    [
        {"json": {"file": "x"}},
        {"data": {"file": "not a file"}},
        {"files": {"other": ("a.png", picture())}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data"}},
        {"files": [("file", ("a.png", picture())), ("file", ("b.png", picture(1)))]},
    ],
)
async def test_a_body_that_is_no_form_with_one_file_is_a_bad_request(world, request_of):
    answer = await world.client.post("/v1/media", **request_of)
    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_a_thumbnail_is_made_of_pixels_and_only_while_a_public_item_shows_the_image(world):
    data = picture(size=(900, 300))
    address = f"/v1/media/{await world.store(data)}"
    assert (await world.client.get(address)).status_code == 404
    world.index("item", data)
    answer = await world.client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content[:2] == b"\xff\xd8" and answer.content != data
    world.index("item", data, state="hidden")
    assert (await world.client.get(address)).status_code == 404


async def test_the_thumbnail_of_a_video_is_its_middle_frame(world):
    data = video(frames=40, size=(96, 64))
    world.index("item", data)
    answer = await world.client.get(f"/v1/media/{await world.store(data)}")
    assert answer.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (96, 64)
    assert place(np.asarray(picture), 40) == pytest.approx(20, abs=3)


@pytest.mark.parametrize("fields", [{"visibility": "private"}, {"visibility": "unlisted"}, {"unsafe": True}])
async def test_media_of_items_that_are_not_for_everybody_is_not_served(world, fields):
    data = picture()
    world.index("item", data, **fields)
    assert (await world.client.get(f"/v1/media/{await world.store(data)}")).status_code == 404


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "A" * 64, "a" * 63, "a" * 65, "%00"])
async def test_a_name_that_is_no_media_id_never_reaches_the_store(world, name):
    answer = await world.client.get(f"/v1/media/{name}")
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"

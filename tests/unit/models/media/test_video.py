import numpy as np
import pytest

from models.media import video as looked_at
from models.media.decoding import OverLimit, perceptual_hash
from models.media.formats import CONTAINERS, sniff_mime
from models.media.messages import Container, VideoLimits
from models.media.video import BrokenVideo, decode_video, read_video_header
from tests.unit.models.media.pictures import quadrants, smooth
from tests.unit.models.media.videos import CODECS, of_streams, of_two_sizes, place, video

LIMITS = VideoLimits(
    max_pixels=100_000, max_side=1_000, max_frames=1_000, max_duration_s=100, frame_cost=10**9, decode_px=128
)
WHOLE = (0.0, 0.0, 1.0, 1.0)
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def limits(**changed):
    return VideoLimits(**{**vars(LIMITS), **changed})


def look(data, wanted=8, crop=WHOLE, limits=LIMITS):
    return decode_video(data, CONTAINERS[sniff_mime(data)], wanted, crop, limits)


def near(pixel, colour, tolerance=40):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


def corners(image):
    right, bottom = image.width - 6, image.height - 6
    return [image.getpixel(at) for at in ((5, 5), (right, 5), (5, bottom), (right, bottom))]


@pytest.fixture
def decoded(monkeypatch):
    """Count the packets that are given to a decoder."""
    counted = []
    original = looked_at._decoded

    def counting(decoder, packets):
        counted.extend(packets)
        return original(decoder, packets)

    monkeypatch.setattr(looked_at, "_decoded", counting)
    return counted


@pytest.mark.parametrize(("container", "codec"), CODECS)
def test_every_accepted_video_is_looked_at_evenly_over_its_time(container, codec):
    header, pictures = look(video(container, codec, frames=40, gop=10))
    assert (header.width, header.height, header.frames) == (64, 48, 40)
    assert header.duration_s == pytest.approx(4.0, abs=0.2)
    assert [(picture.mode, picture.size) for picture in pictures] == [("RGB", (64, 48))] * 8
    # A frame or two beside the middles of eight parts: later frames are sent before earlier ones that need them.
    assert [place(np.asarray(picture), 40) for picture in pictures] == pytest.approx(range(2, 40, 5), abs=3)


def test_the_header_of_a_video_is_told_without_its_pictures():
    header = read_video_header(video(frames=30, size=(96, 64)), Container.MP4, LIMITS)
    assert (header.width, header.height, header.frames) == (96, 64, 30)
    assert header.duration_s == pytest.approx(3.0, abs=0.05)


def test_one_frame_is_the_middle_one():
    _, [picture] = look(video(frames=40), wanted=1)
    assert place(np.asarray(picture), 40) == pytest.approx(20, abs=3)


def test_the_time_counts_and_not_the_number_of_frames():
    data = video(frames=40, times=[*range(30), *range(30, 330, 30)])  # 3 s of many frames, 30 s of few
    _, pictures = look(data)
    assert sum(place(np.asarray(picture), 40) > 28 for picture in pictures) >= 7


@pytest.mark.parametrize(
    ("turned", "colours"),
    [
        (0, (RED, GREEN, BLUE, BLACK)),
        (90, (GREEN, BLACK, RED, BLUE)),
        (180, (BLACK, BLUE, GREEN, RED)),
        (-90, (BLUE, RED, BLACK, GREEN)),
    ],
)
def test_a_video_is_shown_upright_as_its_camera_says(turned, colours):
    data = video(turned=turned, size=(400, 200), picture=lambda _: quadrants(), frames=3)
    header, [picture] = look(data, wanted=1)
    sideways = turned in (90, -90)
    assert (header.width, header.height) == ((200, 400) if sideways else (400, 200))
    assert picture.size == ((64, 128) if sideways else (128, 64))
    for pixel, colour in zip(corners(picture), colours, strict=True):
        assert near(pixel, colour)
    assert read_video_header(data, Container.MP4, LIMITS) == header


@pytest.mark.parametrize(("turned", "crop"), [(0, (0.5, 0.0, 0.5, 0.5)), (90, (0.0, 0.0, 0.5, 0.5))])
def test_a_crop_is_a_part_of_every_frame_as_it_is_shown(turned, crop):
    data = video(turned=turned, size=(400, 200), picture=lambda _: quadrants(), frames=6)
    _, pictures = look(data, crop=crop, wanted=3)
    assert len({picture.size for picture in pictures}) == 1
    for picture in pictures:
        assert max(picture.size) == 128
        assert all(near(pixel, GREEN) for pixel in corners(picture))


def test_the_perceptual_hash_of_a_frame_is_that_of_its_picture():
    data = video(size=(320, 240), picture=lambda index: smooth(320, 240, seed=index), frames=4, gop=1)
    _, pictures = look(data, wanted=4)
    for index, picture in enumerate(pictures):
        assert (perceptual_hash(picture) ^ perceptual_hash(smooth(320, 240, seed=index))).bit_count() <= 6


def test_a_long_video_is_never_decoded_whole(decoded):
    data = video(frames=400, gop=50)
    look(data, limits=limits(frame_cost=20 * 64 * 48))
    assert 40 < len(decoded) <= 160
    decoded.clear()
    look(data, wanted=1, limits=limits(frame_cost=20 * 64 * 48))
    assert len(decoded) <= 20  # for one frame, its share
    decoded.clear()
    read_video_header(data, Container.MP4, LIMITS)
    assert len(decoded) == 1


def test_limits_are_kept_before_a_frame_is_decoded(decoded):
    data = video(frames=30, size=(320, 240))
    for changed, said in (
        ({"max_pixels": 320 * 240 - 1}, "320 x 240"),
        ({"max_side": 300}, "320 x 240"),
        ({"max_frames": 29}, "29 frames"),
        ({"max_duration_s": 2.5}, "lasts 3 s"),
    ):
        with pytest.raises(OverLimit, match=said):
            look(data, limits=limits(**changed))
    assert not decoded


def test_a_video_that_changes_its_size_gives_frames_of_one_size():
    header, pictures = look(of_two_sizes((64, 48), (128, 96)))
    assert (header.width, header.height) == (64, 48)
    assert [picture.size for picture in pictures] == [(64, 48)] * 8
    assert place(np.asarray(pictures[-1]), 10) == pytest.approx(9, abs=1)


def test_a_video_that_grows_beyond_the_limits_is_refused():
    with pytest.raises(BrokenVideo, match="does not decode"):
        look(of_two_sizes((64, 48), (640, 480)))


@pytest.mark.parametrize("codec", ["libx265", "mjpeg"])
def test_a_codec_that_is_not_accepted_is_named(codec):
    data = of_streams(codec, container="mov")
    with pytest.raises(BrokenVideo, match="is not accepted; h264, vp8, vp9, mpeg4 are"):
        look(data)


@pytest.mark.parametrize(("codecs", "said"), [(("aac",), "0 streams"), (("libx264", "libx264"), "2 streams")])
def test_one_stream_of_pictures_is_needed(codecs, said):
    with pytest.raises(BrokenVideo, match=said):
        look(of_streams(*codecs))


def test_sound_beside_the_picture_is_ignored():
    header, pictures = look(of_streams("libx264", "aac"))
    assert (header.frames, len(pictures)) == (10, 8)


@pytest.mark.parametrize(("container", "codec"), [("webm", "libvpx"), ("avi", "mpeg4"), ("mp4", "libx264")])
def test_a_video_that_breaks_off_is_broken(container, codec):
    options = {"movflags": "faststart"} if container == "mp4" else {}
    data = video(container, codec, frames=100, picture=lambda index: smooth(64, 48, seed=index), options=options)
    with pytest.raises((BrokenVideo, OSError, ValueError)):
        look(data[: len(data) // 2])


def test_a_part_that_does_not_decode_makes_the_video_broken():
    data = bytearray(video("webm", "libvpx", frames=40, gop=10, picture=lambda index: smooth(64, 48, seed=index)))
    data[len(data) // 4 : -200] = bytes(len(data) * 3 // 4 - 200)
    with pytest.raises((BrokenVideo, OSError, ValueError)):
        look(bytes(data))

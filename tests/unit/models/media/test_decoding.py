import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from models.media.decoding import OverLimit, decode, perceptual_hash, read_header
from models.media.messages import ImageLimits
from tests.unit.models.media.pictures import encoded, noise, quadrants, smooth

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=4_000, max_frames=8, decode_px=128)
WHOLE = (0.0, 0.0, 1.0, 1.0)
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def corners(image):
    right, bottom = image.width - 3, image.height - 3
    return [image.getpixel(place) for place in ((2, 2), (right, 2), (2, bottom), (right, bottom))]


def near(pixel, colour, tolerance=12):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_every_accepted_format_decodes_to_the_same_picture(file_format):
    header, image = decode(encoded(quadrants(), file_format), WHOLE, LIMITS)
    assert (header.width, header.height) == (400, 200)
    assert (image.mode, image.size) == ("RGB", (128, 64))
    for pixel, colour in zip(corners(image), (RED, GREEN, BLUE, BLACK), strict=True):
        assert near(pixel, colour)


def test_a_small_image_is_not_enlarged():
    _, image = decode(encoded(quadrants().resize((40, 20))), WHOLE, LIMITS)
    assert image.size == (40, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_anything_else(orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores the picture that way
    stored = quadrants()
    if orientation in undo:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    header, image = decode(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0), WHOLE, LIMITS)
    assert (header.width, header.height) == (400, 200)
    for pixel, colour in zip(corners(image), (RED, GREEN, BLUE, BLACK), strict=True):
        assert near(pixel, colour, 40)


@pytest.mark.parametrize(
    ("crop", "colour"),
    [
        ((0.0, 0.0, 0.5, 0.5), RED),
        ((0.5, 0.0, 0.5, 0.5), GREEN),
        ((0.0, 0.5, 0.5, 0.5), BLUE),
        ((0.999, 0.999, 0.001, 0.001), BLACK),
    ],
)
def test_a_crop_is_a_part_of_the_image_as_it_is_shown(crop, colour):
    header, image = decode(encoded(quadrants()), crop, LIMITS)
    assert (header.width, header.height) == (400, 200)
    assert near(image.getpixel((image.width // 2, image.height // 2)), colour)


def test_a_crop_of_a_large_jpeg_keeps_its_detail():
    picture = smooth(1200, 800)
    _, image = decode(encoded(picture, "JPEG", quality=95), (0.0, 0.0, 0.1, 0.15), LIMITS)
    assert image.size == (120, 120)
    expected = np.asarray(picture.crop((0, 0, 120, 120)), dtype=int)
    assert np.abs(np.asarray(image, dtype=int) - expected).mean() < 4


def test_transparency_becomes_white():
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (10, 0, 20, 10))
    for file_format in ("PNG", "WEBP"):
        _, decoded = decode(
            encoded(image, file_format, **({"lossless": True} if file_format == "WEBP" else {})), WHOLE, LIMITS
        )
        assert decoded.getpixel((2, 5)) == (255, 255, 255)
        assert decoded.getpixel((17, 5)) == (0, 0, 255)
    palette = image.quantize(8)
    _, decoded = decode(encoded(palette, "PNG"), WHOLE, LIMITS)
    assert decoded.getpixel((2, 5)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_rather_than_clipped():
    values = np.full((10, 10), 128 * 257, dtype=np.uint16)
    _, image = decode(encoded(Image.fromarray(values)), WHOLE, LIMITS)
    assert image.getpixel((5, 5)) == (128, 128, 128)


def test_an_animation_is_its_first_frame_and_its_frames_are_counted_up_to_the_limit():
    frames = [Image.new("RGB", (10, 10), (25 * n, 0, 0)) for n in range(10)]
    for file_format, counted in (("GIF", 8), ("WEBP", 8), ("PNG", 8)):
        data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
        header, image = decode(data, WHOLE, LIMITS)
        assert header.frames == counted
        assert near(image.getpixel((5, 5)), BLACK)
    three = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:3])
    assert read_header(three, LIMITS).frames == 3


def test_limits_are_checked_from_the_header_alone():
    too_many = encoded(Image.new("1", (1001, 1000)))
    with pytest.raises(OverLimit, match="1001 x 1000"):
        read_header(too_many[:64], LIMITS)  # there are no pixels to decode
    with pytest.raises(OverLimit, match="4001 x 1"):
        decode(encoded(Image.new("L", (4001, 1))), WHOLE, LIMITS)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_costs_the_rotation_not_the_image():
    data = encoded(quadrants(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xff" * 40)
    _, image = decode(data, WHOLE, LIMITS)
    assert image.size == (128, 64)


def test_a_truncated_image_does_not_decode():
    data = encoded(noise(100, 100), "PNG")
    with pytest.raises(OSError, match="truncated"):
        decode(data[: len(data) // 2], WHOLE, LIMITS)


def test_the_perceptual_hash_survives_compression_and_tells_pictures_apart():
    first, second = smooth(300, 200, seed=1), smooth(300, 200, seed=2)
    hashes = [
        perceptual_hash(decode(encoded(picture, name, **options), WHOLE, LIMITS)[1])
        for picture, name, options in ((first, "PNG", {}), (first, "JPEG", {"quality": 40}), (second, "PNG", {}))
    ]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 4
    assert (hashes[0] ^ hashes[2]).bit_count() >= 16
    assert f"{hashes[0]:016x}" == str(imagehash.phash(decode(encoded(first), WHOLE, LIMITS)[1]))


def test_every_truncation_of_a_gif_is_counted_without_an_error():
    frames = [noise(20, 20, n) for n in range(4)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for size in range(20, len(data), 97):
        try:
            Image.open(io.BytesIO(data[:size]))
        except OSError:
            continue
        assert 1 <= read_header(data[:size], LIMITS).frames <= 4

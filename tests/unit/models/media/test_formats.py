import pytest

from core.errors import UndecodableMedia, UnsupportedMedia
from models.media.formats import sniff_mime
from tests.unit.models.media.pictures import encoded, quadrants


@pytest.mark.parametrize(
    ("file_format", "mime"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_an_accepted_image_is_known_by_its_first_bytes(file_format, mime):
    assert sniff_mime(encoded(quadrants(), file_format)) == mime


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"\x00\x00\x00\x20ftypisom", "videos"),
        (b"\x1aE\xdf\xa3\x01\x00", "videos"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "videos"),
        (b"\x00\x00\x00\x20ftypheic", "HEIF"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>", "SVG"),
        (b"<!DOCTYPE html><p>", "HTML"),
        (b"II*\x00", "TIFF"),
        (b"hello", "none of the known"),
    ],
)
def test_anything_else_is_refused_by_name_with_advice(head, named):
    with pytest.raises(UnsupportedMedia, match=named) as refused:
        sniff_mime(head)
    assert "JPEG, PNG, WebP or GIF" in str(refused.value)


def test_no_bytes_are_not_an_image():
    with pytest.raises(UndecodableMedia, match="0 bytes"):
        sniff_mime(b"")

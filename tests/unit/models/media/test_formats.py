import pytest

from core.errors import UndecodableMedia, UnsupportedMedia
from models.media.formats import CONTAINERS, sniff_mime
from tests.hostile.videos import sound
from tests.hostile.videos import video as noise
from tests.unit.models.media.pictures import encoded, quadrants
from tests.unit.models.media.videos import CODECS, video


@pytest.mark.parametrize(
    ("file_format", "mime"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_an_accepted_image_is_known_by_its_first_bytes(file_format, mime):
    assert sniff_mime(encoded(quadrants(), file_format)) == mime
    assert mime in CONTAINERS


@pytest.mark.parametrize(("made", "mime"), CODECS.items())
def test_an_accepted_video_is_known_by_its_first_bytes(made, mime):
    assert sniff_mime(video(*made, frames=2)) == mime
    assert mime in CONTAINERS


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"\x00\x00\x00\x20ftypmp42", "video/mp4"),
        (b"\x00\x00\x00\x20ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x00\x10\x00mdat", "video/quicktime"),
        (b"\x00\x00\x10\x00moov\x00\x00\x00\x6cmvhd", "video/quicktime"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
    ],
)
def test_a_claim_to_be_a_video_is_enough(head, mime):
    assert sniff_mime(head) == mime


def test_other_containers_of_the_same_signature_are_told_apart():
    with pytest.raises(UnsupportedMedia, match="Matroska"):
        sniff_mime(noise("matroska"))
    with pytest.raises(UnsupportedMedia, match="sound files"):
        sniff_mime(sound("ipod"))


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"\x1aE\xdf\xa3\x01\x00", "Matroska"),
        (b"\x00\x00\x00\x20ftypM4A ", "sound"),
        (b"OggS\x00", "Ogg"),
        (b"FLV\x01", "Flash"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://example.org/", "playlists"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "playlists"),
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
    assert "MP4, MOV, WebM or AVI" in str(refused.value)


def test_no_bytes_are_no_media():
    with pytest.raises(UndecodableMedia, match="0 bytes"):
        sniff_mime(b"")

"""Which media types are accepted, decided by the first bytes; file names and content types are never asked."""

from core.errors import UndecodableMedia, UnsupportedMedia
from models.media.messages import Container

CONTAINERS = {
    "image/jpeg": Container.IMAGE,
    "image/png": Container.IMAGE,
    "image/webp": Container.IMAGE,
    "image/gif": Container.IMAGE,
    "video/mp4": Container.MP4,
    "video/quicktime": Container.MP4,
    "video/webm": Container.WEBM,
    "video/x-msvideo": Container.AVI,
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
_OLD_QUICKTIME = (b"moov", b"mdat", b"wide")  # a file from before there was a box that says what it is
_EBML = b"\x1aE\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (_EBML, "Matroska files other than WebM"),
    (b"OggS", "Ogg files"),
    (b"FLV\x01", "Flash videos"),
    (b"\x00\x00\x01\xba", "MPEG program streams"),
    (b"\x00\x00\x01\xb3", "MPEG video streams"),
    (b"#EXTM3U", "playlists"),
    (b"ffconcat", "playlists"),
    (b"II*\x00", "TIFF images"),
    (b"MM\x00*", "TIFF images"),
    (b"BM", "BMP images"),
    (b"%PDF", "PDF documents"),
    (b"%!PS", "PostScript documents"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000 images"),
    (b"\xff\x4f\xff\x51", "JPEG 2000 images"),
    (b"\xff\x0a", "JPEG XL images"),
    (b"8BPS", "Photoshop documents"),
    (b"SIMPLE  =", "FITS images"),
    (b"PK\x03\x04", "archives"),
    (b"\x1f\x8b", "archives"),
)
_ADVICE = "send a JPEG, PNG, WebP or GIF, or a video as MP4, MOV, WebM or AVI"


def sniff_mime(data: bytes) -> str:
    """Return which of `CONTAINERS` the bytes claim to be by their magic number.

    Raises:
        UndecodableMedia: there are no bytes.
        UnsupportedMedia: they claim to be something else, or nothing known.
    """
    head = data[:64]
    if not head:
        raise UndecodableMedia("the media is empty (0 bytes)")
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    if head.startswith(_EBML) and _doc_type(head) == b"webm":
        return "video/webm"
    if head[4:8] == b"ftyp" and head[8:12] not in (*_HEIF_BRANDS, *_AVIF_BRANDS, *_AUDIO_BRANDS):
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head[4:8] in _OLD_QUICKTIME:
        return "video/quicktime"
    raise UnsupportedMedia(f"{_name_refused(head)} are not supported; {_ADVICE}")


def _doc_type(head: bytes) -> bytes:
    """Return the DocType of an EBML header (RFC 8794, section 11.2.5): one byte of length, then the text."""
    place = head.find(_DOC_TYPE)
    if place < 0 or place + 3 > len(head):
        return b""
    return head[place + 3 : place + 3 + (head[place + 2] & 0x7F)]


def _name_refused(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return "HEIF images"
        return "AVIF images" if head[8:12] in _AVIF_BRANDS else "sound files"
    for magic, name in _REFUSED:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<svg", b"<!doctype svg")):
        return "SVG and other XML files"
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML pages"
    return "files that begin with none of the known signatures"

"""Which media types are accepted, decided by the first bytes; file names and content types are never asked."""

from core.errors import UndecodableMedia, UnsupportedMedia

ACCEPTED = ("image/jpeg", "image/png", "image/webp", "image/gif")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_REFUSED: tuple[tuple[bytes, str], ...] = (
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
_VIDEO: tuple[bytes, ...] = (b"\x1aE\xdf\xa3", b"OggS", b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_ADVICE = "send a JPEG, PNG, WebP or GIF"


def sniff_mime(data: bytes) -> str:
    """Return which of `ACCEPTED` the bytes claim to be by their magic number.

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
    raise UnsupportedMedia(f"{_name_refused(head)} are not supported; {_ADVICE}")


def _name_refused(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return "HEIF images"
        if head[8:12] in (b"avif", b"avis"):
            return "AVIF images"
        return "videos"
    if head.startswith(_VIDEO) or (head.startswith(b"RIFF") and head[8:12] == b"AVI "):
        return "videos"
    for magic, name in _REFUSED:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<svg", b"<!doctype svg")):
        return "SVG and other XML files"
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML pages"
    return "files that begin with none of the known image signatures"

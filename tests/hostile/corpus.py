"""Hostile images, made by script: bombs, lies, truncations, polyglots and things that are not images at all.

`corpus()` gives name, bytes and what may come of it: "refused" (an error about the image), "image" (it is odd, and
decodes), or "either" (decoders may differ; all that counts is that one of the two happens, within the limits).
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

Verdict = Literal["refused", "image", "either"]
PNG = b"\x89PNG\r\n\x1a\n"


class Hostile(NamedTuple):
    name: str
    data: bytes
    verdict: Verdict


def corpus() -> Iterator[Hostile]:
    """Yield every case, the same ones each time."""
    yield from _not_images()
    yield from _wrong_types()
    yield from _lying_headers()
    yield from _bombs()
    yield from _animations()
    yield from _metadata()
    yield from _polyglots()
    yield from _truncations()
    yield from _damage()
    yield from _odd_but_fine()


def _file(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _noise(width: int = 64, height: int = 48, seed: int = 7) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _gif(width: int, height: int, body: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6) + body


def _gif_frame(x: int, y: int, width: int, height: int, packed: bytes = b"\x02\x02\x44\x01\x00") -> bytes:
    return b"," + struct.pack("<HHHHB", x, y, width, height, 0) + packed


def _jpeg_with_size(width: int, height: int) -> bytes:
    data = bytearray(_file(_noise(), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _webp_canvas(width: int, height: int, flags: int = 0x02) -> bytes:
    extended = struct.pack("<B3x", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + extended
    body += b"ANIM" + struct.pack("<IIH", 6, 0xFFFFFFFF, 0)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _not_images() -> Iterator[Hostile]:
    rng = random.Random(1)
    yield Hostile("empty", b"", "refused")
    yield Hostile("one zero byte", b"\0", "refused")
    yield Hostile("a megabyte of zeros", bytes(1 << 20), "refused")
    yield Hostile("text", b"this is not an image, whatever its name ends in", "refused")
    yield Hostile("a JSON document with NaN", b'{"image": NaN, "size": Infinity}', "refused")
    yield Hostile("a pickle that would run a command", b"cos\nsystem\n(S'true'\ntR.", "refused")
    yield Hostile("a shell script", b"#!/bin/sh\nexit 0\n", "refused")
    yield Hostile("an ELF header", b"\x7fELF\x02\x01\x01" + bytes(64), "refused")
    for name, magic in (
        ("JPEG", b"\xff\xd8\xff\xe0"),
        ("PNG", PNG),
        ("GIF", b"GIF89a"),
        ("WebP", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("lossless WebP", b"RIFF\x24\0\0\0WEBPVP8L"),
    ):
        yield Hostile(f"the magic of {name} alone", magic, "refused")
        for size in (16, 1_000, 100_000):
            yield Hostile(f"the magic of {name} and {size} random bytes", magic + rng.randbytes(size), "either")


def _wrong_types() -> Iterator[Hostile]:
    entity = '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    yield Hostile("an SVG with an external entity", entity.encode(), "refused")
    yield Hostile("an SVG with a billion laughs", f"<!DOCTYPE svg [<!ENTITY l0 'ha'>{laughs}]>".encode(), "refused")
    yield Hostile("an SVG with a script", b"<svg><script>alert(1)</script></svg>", "refused")
    yield Hostile("HTML", b"<!doctype html><img src=x onerror=alert(1)>", "refused")
    yield Hostile("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop", "refused")
    yield Hostile("PDF", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj", "refused")
    yield Hostile("FITS", b"SIMPLE  =                    T" + bytes(2880), "refused")
    yield Hostile("BMP", _file(_noise(), "BMP"), "refused")
    yield Hostile("TIFF", _file(_noise(), "TIFF"), "refused")
    yield Hostile("ICO", _file(_noise(32, 32), "ICO"), "refused")
    yield Hostile("PPM", _file(_noise(), "PPM"), "refused")
    yield Hostile("MP4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100), "refused")
    yield Hostile("HEIC", b"\0\0\0\x20ftypheic" + bytes(100), "refused")
    yield Hostile("a WAV file", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "refused")
    yield Hostile("a gzip file", b"\x1f\x8b\x08\0" + bytes(40), "refused")


def _lying_headers() -> Iterator[Hostile]:
    row = zlib.compress(bytes(10))
    for width, height in (
        (0, 0),
        (0, 10),
        (10, 0),
        (2**31 - 1, 2**31 - 1),
        (2**32 - 1, 1),
        (1, 2**32 - 1),
        (65_535, 65_535),
        (16_385, 1),
        (7_000, 7_000),
    ):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", row) + _chunk(b"IEND", b"")
        yield Hostile(f"a PNG that says {width} x {height}", data, "refused")
    for width, height in ((0, 0), (0, 48), (64, 0), (65_535, 65_535), (65_500, 1), (6_400, 6_400)):
        yield Hostile(f"a JPEG that says {width} x {height}", _jpeg_with_size(width, height), "refused")
    for width, height in ((0, 0), (65_535, 65_535), (65_535, 1)):
        data = _gif(width, height, _gif_frame(0, 0, max(width, 1), max(height, 1)) + b";")
        yield Hostile(f"a GIF that says {width} x {height}", data, "refused" if width else "either")
    for width, height in ((16_384, 16_384), (1 << 24, 1), (1 << 24, 200), (100, 100)):
        yield Hostile(f"a WebP canvas of {width} x {height} with nothing on it", _webp_canvas(width, height), "refused")
    outside = _gif_frame(60_000, 60_000, 5_000, 5_000)
    yield Hostile("a GIF frame far outside its canvas", _gif(10, 10, outside + b";"), "refused")
    yield Hostile("a PNG of depth 3", _png(10, 10, bytes(310), depth=3), "refused")
    yield Hostile("a PNG of colour type 5", _png(10, 10, bytes(310), colour=5), "refused")
    yield Hostile("a palette PNG without a palette", _png(10, 10, bytes(110), colour=3), "either")
    yield Hostile("a chunk that says it has 4 GB", PNG + b"\xff\xff\xff\xffIHDR" + bytes(100), "refused")


def _bombs() -> Iterator[Hostile]:
    for side in (6_400, 13_000):
        rows = bytes((3 * side + 1) * 2_000)  # the compressor's patience, not the image's, is the limit
        yield Hostile(f"a PNG bomb of {side} x {side}", _png(side, side, rows), "refused")
    big = Image.new("L", (6_300, 6_300))
    yield Hostile("a PNG just under the pixel limit", _file(big, "PNG"), "image")
    yield Hostile("a JPEG just under the pixel limit", _file(big, "JPEG", quality=1), "image")
    yield Hostile("a progressive JPEG just under the limit", _file(big, "JPEG", quality=1, progressive=True), "either")
    yield Hostile("a PNG whose data goes on for 200 MB", _png(10, 10, bytes(200_000_000)), "either")
    yield Hostile("a long thin PNG", _file(Image.new("RGB", (16_384, 1)), "PNG"), "image")
    scans = _file(_noise(512, 512), "JPEG", progressive=True, quality=90)
    start = scans.rindex(b"\xff\xda")
    yield Hostile(
        "a progressive JPEG whose last scan comes 200 times",
        scans[:start] + scans[start:-2] * 200 + b"\xff\xd9",
        "either",
    )


def _animations() -> Iterator[Hostile]:
    frames = [Image.new("RGB", (600, 600), (n, 0, 0)) for n in range(120)]
    for file_format in ("GIF", "WEBP", "PNG"):
        data = _file(frames[0], file_format, save_all=True, append_images=frames[1:], duration=10)
        yield Hostile(f"{file_format} of 120 frames", data, "image")
    tiny = _gif_frame(0, 0, 1, 1)
    yield Hostile("a GIF of 300,000 frames", _gif(1_000, 1_000, tiny * 300_000 + b";"), "either")
    yield Hostile("a GIF of extensions without end", _gif(10, 10, b"!\xfe\x01a\x00" * 400_000), "refused")
    count = struct.pack(">II", 2**31 - 1, 0)
    base = _file(_noise(), "PNG")
    lying = base[:33] + _chunk(b"acTL", count) + base[33:]
    yield Hostile("an APNG that says it has 2,147,483,647 frames", lying, "either")
    large = [Image.new("RGB", (2_000, 2_000), (n, n, n)) for n in range(12)]
    yield Hostile("a WebP of large frames", _file(large[0], "WEBP", save_all=True, append_images=large[1:]), "image")


def _metadata() -> Iterator[Hostile]:
    bomb = zlib.compress(bytes(100_000_000), 9)
    base = _file(_noise(), "PNG")
    for kind, body in (
        (b"iCCP", b"profile\0\0" + bomb),
        (b"zTXt", b"comment\0\0" + bomb),
        (b"iTXt", b"comment\0\1\0\0\0" + bomb),
        (b"eXIf", b"MM\0*\0\0\0\x08" + b"\xff" * 50_000),
        (b"tEXt", b"key\0" + b"x" * 3_000_000),
        (b"tRNS", b"\0" * 1_000),
        (b"PLTE", b"\0" * 1_001),
    ):
        yield Hostile(f"a PNG with a hostile {kind.decode()}", base[:33] + _chunk(kind, body) + base[33:], "either")
    yield Hostile("a PNG with a wrong checksum", base[:29] + b"\0\0\0\0" + base[33:], "either")
    many = b"".join(_chunk(b"tEXt", b"k%d\0v" % n) for n in range(50_000))
    yield Hostile("a PNG with 50,000 text chunks", base[:33] + many + base[33:], "either")
    loop = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08"  # the EXIF directory is its own child
    huge = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" + b"\x01\x12\0\2\xff\xff\xff\xff\0\0\0\0" * 4_000
    for name, exif in (
        ("a loop", loop),
        ("huge counts", huge),
        ("nothing", b"Exif\0\0"),
        ("noise", b"Exif\0\0" + bytes(999)),
    ):
        yield Hostile(f"a JPEG whose EXIF is {name}", _file(_noise(), "JPEG", exif=exif[:65_000]), "either")
    for value in (0, 9, 65_535):
        exif = Image.Exif()
        exif[0x0112] = value
        yield Hostile(f"a JPEG of orientation {value}", _file(_noise(), "JPEG", exif=exif), "image")
    profile = b"\xff" * 400_000
    yield Hostile("a JPEG with a false colour profile", _file(_noise(), "JPEG", icc_profile=profile), "image")
    yield Hostile("a WebP with a false colour profile", _file(_noise(), "WEBP", icc_profile=profile), "either")
    jpeg = _file(_noise(), "JPEG")
    comments = b"\xff\xfe\xff\xff" + b"x" * 65_533
    yield Hostile("a JPEG with 15 MB of comments", jpeg[:2] + comments * 230 + jpeg[2:], "either")
    yield Hostile("a JPEG with a segment of length 0", jpeg[:2] + b"\xff\xe1\0\0" + jpeg[2:], "either")


def _polyglots() -> Iterator[Hostile]:
    jpeg, png, gif = (_file(_noise(), name) for name in ("JPEG", "PNG", "GIF"))
    yield Hostile("a JPEG with a ZIP behind it", jpeg + b"PK\x03\x04" + bytes(200), "image")
    yield Hostile("a PNG with HTML behind it", png + b"<script>alert(1)</script>", "image")
    yield Hostile("a GIF that is a script", b"GIF89a/*" + gif[8:] + b"*/=1;", "either")
    yield Hostile(
        "a PNG inside a JPEG comment", jpeg[:2] + b"\xff\xfe\x10\x02" + png[:4_096].ljust(4_096) + jpeg[2:], "either"
    )
    yield Hostile("a PNG named like a PDF", b"%PDF-1.4\n" + png, "refused")
    yield Hostile("two PNGs", png + png, "image")
    yield Hostile("a PNG after a byte-order mark", b"\xef\xbb\xbf" + png, "refused")


def _truncations() -> Iterator[Hostile]:
    for file_format in ("JPEG", "PNG", "GIF", "WEBP"):
        data = _file(_noise(), file_format)
        for part in range(1, 32):
            yield Hostile(f"{file_format} cut to {part}/32", data[: len(data) * part // 32], "either")
        yield Hostile(f"{file_format} without its last byte", data[:-1], "either")
        yield Hostile(f"{file_format} without its first byte", data[1:], "refused")


def _damage() -> Iterator[Hostile]:
    rng = random.Random(2)
    for file_format in ("JPEG", "PNG", "GIF", "WEBP"):
        good = _file(_noise(), file_format)
        for round_number in range(13):
            data = bytearray(good)
            for _ in range(1 + 4 * round_number):
                data[rng.randrange(12, len(data))] = rng.randrange(256)
            yield Hostile(f"{file_format} damaged, round {round_number}", bytes(data), "either")


def _odd_but_fine() -> Iterator[Hostile]:
    yield Hostile("one pixel", _file(Image.new("RGB", (1, 1)), "PNG"), "image")
    yield Hostile("one bit", _file(Image.new("1", (9, 9)), "PNG"), "image")
    yield Hostile("all transparent", _file(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"), "image")
    yield Hostile("CMYK", _file(Image.new("CMYK", (20, 20), (9, 99, 200, 4)), "JPEG"), "image")
    yield Hostile("16-bit grey", _file(Image.fromarray(np.full((9, 9), 65_535, np.uint16)), "PNG"), "image")
    yield Hostile("a palette with transparency", _file(_noise().quantize(16), "PNG", transparency=b"\0\x80"), "image")

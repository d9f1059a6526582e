"""Measures the unit costs that need no running system: sizes, and what one processor thread decodes and embeds."""

import asyncio
import io
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image

from core import events
from core.entries import IndexEntry, Version, encode_entry
from core.ids import media_id
from core.settings import CatalogueSettings, EncoderSettings, MediaSettings

_ITEMS = 20_000
_IMAGES = 32


def measure() -> Iterator[tuple[str, float]]:
    """Yield unit costs by name, as `unit_costs.toml` has them. Takes about a minute."""
    yield "upload_event_bytes", len(_upload(0))
    yield "interaction_event_bytes", len(_interaction())
    yield "index_entry_bytes", len(encode_entry(_entry(0)))
    yield "catalogue_bytes_per_item", _catalogue_bytes()
    yield from _images_per_s()


def _upload(number: int) -> bytes:
    data = {
        "item_id": f"item-{number:012d}",
        "owner_id": f"user-{number % 1000:012d}",
        "kind": "image",
        "media_id": media_id(str(number).encode()),
        "title": "A zebra drinks at the water hole in the evening",
        "tags": ["zebra", "savanna", "evening"],
        "language": "en",
    }
    return _event("upload.created", str(data["item_id"]), data)


def _interaction() -> bytes:
    data = {
        "user_id": "user-000000000001",
        "item_id": "item-000000000001",
        "surface": "visual_search",
        "position": 3,
        "trace_id": "0" * 32,
    }
    return _event("interaction.click", str(data["user_id"]), data)


def _event(kind: str, subject: str, data: Mapping[str, object]) -> bytes:
    import msgspec

    event = {
        "specversion": "1.0",
        "id": "0" * 32,
        "source": "app",
        "type": f"riverlight.{kind}",
        "time": "2026-11-22T10:00:00.000000Z",
        "subject": subject,
        "data": data,
    }
    text = msgspec.json.encode(event)
    events.decode(text, "uploads" if kind.startswith("upload") else "interactions")  # it is one
    return text


def _entry(number: int) -> IndexEntry:
    return IndexEntry(
        item_id=f"item-{number:012d}",
        version=Version.of(datetime(2026, 11, 22, tzinfo=UTC), number),
        media_id=media_id(str(number).encode()),
        owner_id=f"user-{number % 1000:012d}",
        vector=random.Random(number).randbytes(4 * 256),
        model_version="visual-search-2026-11-22-0123456789ab",
        phash="0123456789abcdef",
        title="A zebra drinks at the water hole in the evening",
        tags=["zebra", "savanna", "evening"],
        language="en",
        event_id="0" * 32,
    )


def _catalogue_bytes() -> float:
    """Return what an item adds to a SQLite catalogue, inbox included: PostgreSQL is about as large."""
    from storage.catalogue import Catalogue, Item

    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "catalogue.db"
        catalogue = Catalogue.open(f"sqlite:///{file}", CatalogueSettings())
        now = datetime.now(UTC)
        for start in range(0, _ITEMS, 1_000):
            changes = []
            for number in range(start, start + 1_000):
                entry = _entry(number)
                item = Item(
                    item_id=entry.item_id,
                    owner_id=entry.owner_id,
                    kind="image",
                    media_id=entry.media_id,
                    title=entry.title,
                    description="",
                    tags=tuple(entry.tags),
                    language="en",
                    category="",
                    visibility="public",
                    blocked_regions=(),
                    state="active",
                    unsafe=False,
                    version=entry.version,
                    event_id=f"{number:032x}",
                    created_at=now,
                    updated_at=now + timedelta(seconds=1),
                )
                changes.append((item.event_id, item))
            catalogue.apply_items("index-upload", changes)
        catalogue.close()  # writes the log of SQLite into the file
        return file.stat().st_size / _ITEMS


def _images_per_s() -> Iterator[tuple[str, float]]:
    from models.media.decoder import MediaDecoder
    from models.registry.packaged import open_registry
    from models.visual_search.load import load_encoder

    pictures = [_jpeg(number) for number in range(_IMAGES)]
    decoder = MediaDecoder(MediaSettings())
    decoder.start()
    try:

        async def decode() -> list[object]:
            await decoder.decode(pictures[0])  # the first starts the process
            started = time.perf_counter()
            found = [(await decoder.decode(picture)).pixels for picture in pictures]
            return [time.perf_counter() - started, *found]

        decode_s, *pixels = asyncio.run(decode())
    finally:
        decoder.close()
    yield "decode_images_per_s_per_vcpu", _IMAGES / float(decode_s)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        encoder = load_encoder(EncoderSettings(device="cpu", threads=1), open_registry(Path(name)))
        encoder.encode(pixels[:2])  # type: ignore[arg-type]
        started = time.process_time()  # what others do on the machine meanwhile does not count
        encoder.encode(pixels)  # type: ignore[arg-type]
        yield "encoder_images_per_s_per_vcpu", _IMAGES / (time.process_time() - started)


def _jpeg(number: int) -> bytes:
    """Return a photo-like JPEG of 1024 × 768: smooth gradients with noise."""
    noise = Image.frombytes("RGB", (128, 96), random.Random(number).randbytes(128 * 96 * 3))
    out = io.BytesIO()
    noise.resize((1024, 768), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()

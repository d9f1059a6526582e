"""Every hostile image is decided within its limits, and the decoder is as good as new afterwards."""

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from core.errors import InvalidInput
from core.settings import MediaSettings
from models.media.decoder import MediaDecoder
from tests.hostile.corpus import Hostile, corpus

SETTINGS = MediaSettings(memory_mb=768, decode_timeout_s=10)
CASES = list(corpus())


@pytest.fixture(scope="module")
def decoder():
    decoder = MediaDecoder(SETTINGS)
    decoder.start()
    yield decoder
    decoder.close()


def plain_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


async def outcome(decoder: MediaDecoder, data: bytes) -> str:
    try:
        image = await decoder.decode(data)
    except InvalidInput as error:
        assert str(error)
        assert len(str(error)) < 500
        assert "0x" not in str(error)  # no addresses, no object representations
        return "refused"
    assert image.pixels.shape[2] == 3
    assert max(image.pixels.shape) <= SETTINGS.decode_px
    return "image"


def test_the_corpus_is_large_and_its_cases_are_different():
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.data for case in CASES}) >= len(CASES) - 3


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_hostile_image_is_decided_and_the_next_one_decodes(decoder, case: Hostile):
    verdict = await outcome(decoder, case.data)
    if case.verdict != "either":
        assert verdict == case.verdict
    assert (await decoder.decode(plain_picture())).width == 40


async def test_a_probe_decides_every_hostile_image_too(decoder):
    for case in CASES:
        try:
            info = await decoder.probe(case.data)
        except InvalidInput:
            continue
        assert info.width * info.height <= SETTINGS.max_pixels
        assert 1 <= info.frames <= SETTINGS.max_frames


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_memory_stayed_bounded_and_no_process_had_to_be_replaced(decoder):
    for case in CASES:
        await outcome(decoder, case.data)
    peak_kb = int(Path(f"/proc/{decoder.pids()[0]}/status").read_text().split("VmHWM:")[1].split()[0])  # noqa: ASYNC240
    assert peak_kb < SETTINGS.memory_mb * 1024
    assert decoder.replaced == 0

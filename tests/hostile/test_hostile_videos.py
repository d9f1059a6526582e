"""Goal G21. Every hostile video is decided within its limits, and the decoder is as good as new afterwards."""

import sys
import time
from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.settings import MediaSettings
from models.media.decoder import MediaDecoder
from tests.hostile.videos import corpus, video

SETTINGS = MediaSettings(memory_mb=768)
MAX_PEAK_MB = 512


@pytest.fixture(scope="module")
def decoder():
    decoder = MediaDecoder(SETTINGS)
    decoder.start()
    yield decoder
    decoder.close()


async def outcome(decoder: MediaDecoder, data: bytes) -> str:
    """Return "video", or the code it is refused with."""
    try:
        info = await decoder.probe(data)
        assert info.width * info.height <= SETTINGS.max_video_pixels
        assert 1 <= info.frames <= SETTINGS.max_video_frames
        seen = await decoder.decode(data)
    except InvalidInput as error:
        assert 0 < len(str(error)) < 500
        assert "0x" not in str(error)  # no addresses, no object representations
        return error.code
    assert 1 <= len(seen.frames) <= SETTINGS.video_frames
    assert max(seen.frames.shape[1:3]) <= SETTINGS.decode_px
    return "video"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_g21_every_hostile_video_is_decided_and_no_decoding_process_is_lost(decoder):
    cases = list(corpus())
    assert len(cases) >= 400
    assert len({case.name for case in cases}) == len(cases)
    became: dict[str, int] = {}
    slowest_s = 0.0
    for case in cases:
        began = time.monotonic()
        verdict = await outcome(decoder, case.data)
        slowest_s = max(slowest_s, time.monotonic() - began)
        if case.verdict != "either":
            assert (verdict == "video") == (case.verdict == "video"), case.name
        became[verdict] = became.get(verdict, 0) + 1
    assert await outcome(decoder, video()) == "video"
    assert decoder.replaced == 0
    peak_kb = int(Path(f"/proc/{decoder.pids()[0]}/status").read_text().split("VmHWM:")[1].split()[0])  # noqa: ASYNC240
    print(
        f"G21: {len(cases)} videos, 0 crashes, decided as {became}, the slowest in {slowest_s:.1f} s; "
        f"the decoding process had {peak_kb // 1024} MiB"
    )
    assert peak_kb < MAX_PEAK_MB * 1024

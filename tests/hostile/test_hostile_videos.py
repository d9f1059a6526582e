"""Goal G21. Videos are not decoded here yet: what matters is that each is refused at the door, and stays outside."""

from pathlib import Path

import pytest

from core.errors import InvalidInput, UnsupportedMedia
from core.settings import MediaSettings
from models.media.decoder import MediaDecoder
from tests.hostile.videos import corpus


@pytest.fixture(scope="module")
def decoder():
    decoder = MediaDecoder(MediaSettings(memory_mb=768))
    decoder.start()
    yield decoder
    decoder.close()


async def test_g21_every_hostile_video_is_refused_and_no_decoding_process_is_lost(decoder):
    cases = list(corpus())
    assert len(cases) >= 200
    assert len({case.name for case in cases}) == len(cases)
    kinds: dict[str, int] = {}
    for case in cases:
        for look in (decoder.probe, decoder.decode):
            with pytest.raises(InvalidInput) as refused:
                await look(case.data)
            assert len(str(refused.value)) < 500
        if not case.data.startswith((b"\xff\xd8\xff", b"RIFF\x24\0\0\0WEBP")):  # those claim to be pictures
            assert isinstance(refused.value, UnsupportedMedia), case.name
        kinds[refused.value.code] = kinds.get(refused.value.code, 0) + 1
    assert decoder.replaced == 0
    peak_kb = int(Path(f"/proc/{decoder.pids()[0]}/status").read_text().split("VmHWM:")[1].split()[0])  # noqa: ASYNC240
    print(f"G21: {len(cases)} videos, 0 crashes, refused as {kinds}; the decoding process had {peak_kb // 1024} MiB")
    assert peak_kb < 512 * 1024

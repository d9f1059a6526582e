import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput, Overloaded, TooLarge, Unavailable, UndecodableMedia, UnsupportedMedia
from core.settings import MediaSettings
from models.media.messages import Operation, Reply, Request, Status
from models.media.process import BadReply, DecodingProcess
from tests.unit.models.media.pictures import encoded, noise, quadrants, smooth


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def exists(pid):
    return Path(f"/proc/{pid}").exists()


async def until(condition, deadline_s=20.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_an_image_is_decoded_with_its_size_type_and_hash(decoder):
    image = await decoder.decode(encoded(smooth(1000, 600), "JPEG"))
    assert image.pixels.shape == (307, 512, 3)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height, image.mime) == (1000, 600, "image/jpeg")
    assert len(image.phash) == 16
    assert int(image.phash, 16) > 0


async def test_a_probe_reads_the_header(decoder):
    info = await decoder.probe(encoded(quadrants(), "GIF"))
    assert (info.kind, info.mime, info.width, info.height) == ("image", "image/gif", 400, 200)
    assert (info.duration_s, info.frames) == (None, 1)


async def test_a_video_is_refused_by_name(decoder):
    with pytest.raises(UnsupportedMedia, match="videos are not supported"):
        await decoder.probe(b"\x00\x00\x00\x20ftypisom" + bytes(100))


@pytest.mark.parametrize(
    "crop",
    [(0, 0, 0, 1), (-0.1, 0, 1, 1), (0.5, 0, 0.6, 1), (0, 0, float("nan"), 1), (0, 0, float("inf"), 1)],
)
async def test_a_crop_outside_the_image_is_refused(decoder, crop):
    with pytest.raises(InvalidInput, match="fractions"):
        await decoder.decode(encoded(quadrants()), crop=crop)


async def test_limits_are_answered_with_what_is_allowed(make_decoder):
    decoder = make_decoder(max_bytes=2_000, max_pixels=10_000)
    with pytest.raises(TooLarge, match="2000 are allowed"):
        await decoder.decode(encoded(noise(100, 100)))
    with pytest.raises(TooLarge, match="200 x 100"):
        await decoder.decode(encoded(quadrants().resize((200, 100))))


async def test_a_crashing_process_is_replaced_and_the_image_blamed(decoder):
    picture = encoded(quadrants())
    await decoder.decode(picture)
    (first,) = decoder.pids()
    os.kill(first, signal.SIGSEGV)
    with pytest.raises(UndecodableMedia, match="SIGSEGV"):
        await decoder.decode(picture)
    assert (await decoder.decode(picture)).width == 400
    assert decoder.pids() != [first]
    assert decoder.replaced == 1


async def test_a_process_killed_from_outside_is_not_blamed_on_the_image(decoder):
    picture = encoded(quadrants())
    await decoder.decode(picture)
    os.kill(decoder.pids()[0], signal.SIGKILL)
    assert (await decoder.decode(picture)).width == 400


async def test_a_decode_that_takes_too_long_is_killed(make_decoder):
    decoder = make_decoder(decode_timeout_s=0.3)
    picture = encoded(quadrants())
    await decoder.decode(picture)
    (stuck,) = decoder.pids()
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(UndecodableMedia, match=r"no answer within 0\.3 s"):
        await decoder.decode(picture)
    assert not alive(stuck)
    assert (await decoder.decode(picture)).width == 400


async def test_memory_beyond_the_limit_is_refused_and_the_process_goes_on(make_decoder):
    decoder = make_decoder(memory_mb=256, max_pixels=200_000_000)
    with pytest.raises(UndecodableMedia, match="256 MB"):
        await decoder.decode(encoded(quadrants().resize((12_000, 12_000))))
    assert (await decoder.decode(encoded(quadrants()))).width == 400


async def test_more_than_the_queue_holds_is_overload_and_what_is_cancelled_makes_room(make_decoder):
    decoder = make_decoder(queue_max=2)
    picture = encoded(quadrants())
    await decoder.decode(picture)
    (pid,) = decoder.pids()
    os.kill(pid, signal.SIGSTOP)
    running = asyncio.create_task(decoder.decode(picture))
    await asyncio.sleep(0)
    await until(lambda: decoder.waiting == 0)
    waiting = [asyncio.create_task(decoder.decode(picture)) for _ in range(2)]
    await until(lambda: decoder.waiting == 2)
    with pytest.raises(Overloaded):
        await decoder.decode(picture)
    waiting[0].cancel()
    os.kill(pid, signal.SIGCONT)
    assert (await running).width == (await waiting[1]).width == 400
    assert decoder.waiting == 0


async def test_processes_are_recycled_without_losing_an_image(make_decoder):
    decoder = make_decoder(recycle_after=3)
    picture = encoded(quadrants())
    images = await asyncio.gather(*(decoder.decode(picture) for _ in range(8)))
    assert [image.width for image in images] == [400] * 8
    assert decoder.replaced == 0


async def test_closing_fails_what_is_under_way_and_leaves_no_process(make_decoder):
    decoder = make_decoder(workers=2)
    picture = encoded(quadrants())
    await asyncio.gather(*(decoder.decode(picture) for _ in range(4)))
    pids = decoder.pids()
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    tasks = [asyncio.create_task(decoder.decode(picture)) for _ in range(4)]
    await until(lambda: decoder.waiting == 2)
    await asyncio.to_thread(decoder.close)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert not any(exists(pid) for pid in pids)  # reaped too: not even zombies
    with pytest.raises(Unavailable, match="not running"):
        await decoder.decode(picture)


def test_processes_end_with_a_parent_that_was_killed():
    source = """
        import time
        from core.settings import MediaSettings
        from models.media.decoder import MediaDecoder
        decoder = MediaDecoder(MediaSettings())
        decoder.start()
        while not decoder.pids():
            time.sleep(0.01)
        print(decoder.pids()[0], flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end, "the decoding process outlived its parent"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and network namespaces are Linux's")
async def test_the_process_has_no_environment_and_limits_and_as_root_no_network_and_no_identity(decoder):
    await decoder.decode(encoded(quadrants()))
    process = Path(f"/proc/{decoder.pids()[0]}")
    limits = {line[:25].strip(): line[25:].split()[0] for line in (process / "limits").read_text().splitlines()[1:]}
    assert limits["Max address space"] == str(1024 * 1024 * 1024)
    assert (limits["Max file size"], limits["Max core file size"], limits["Max processes"]) == ("0", "0", "0")
    assert int(limits["Max open files"]) == 16
    if os.geteuid() == 0:
        names = {entry.split("=")[0] for entry in (process / "environ").read_text().split("\0") if entry}
        assert names <= {"PYTHONPATH", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}
        assert "Uid:\t65534\t65534" in (process / "status").read_text()
    interfaces = {line.split(":")[0].strip() for line in (process / "net/dev").read_text().splitlines()[2:]}
    assert interfaces <= {"lo"} or os.geteuid() != 0


@pytest.mark.parametrize(
    "reply",
    [
        Reply(Status.OK, 10, 10, 1, 600, 1, 0, 1800),  # more pixels than asked for
        Reply(Status.OK, 10, 10, 1, 2, 2, 0, 5_000_000),  # payload and pixels disagree
        Reply(Status.OK, 0, 10, 1, 2, 2, 0, 12),  # no such image
        Reply(Status.OK, 100_000, 10, 1, 2, 2, 0, 12),  # cannot have passed the limits
        Reply(Status.OK, 10, 10, 0, 2, 2, 0, 12),
        Reply(Status.UNDECODABLE, size_bytes=4_000_000_000),
    ],
)
def test_a_reply_that_cannot_be_true_is_not_believed(reply):
    process = DecodingProcess(MediaSettings())
    try:
        with pytest.raises(BadReply):
            process._check(reply)
    finally:
        process.kill()


def test_requests_and_replies_survive_packing():
    request = Request(Operation.DECODE, 123, (0.1, 0.2, 0.3, 0.4))
    assert Request.unpack(request.pack()) == request
    reply = Reply(Status.OK, 1, 2, 3, 4, 5, 2**64 - 1, 60)
    assert Reply.unpack(reply.pack()) == reply

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
from models.media.messages import Container, Operation, Reply, Request, Status
from models.media.process import BadReply, DecodingProcess
from tests.unit.models.media.pictures import encoded, noise, quadrants, smooth
from tests.unit.models.media.videos import CODECS, place, video


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
    assert (len(image.frames), image.phashes) == (1, (image.phash,))
    np.testing.assert_array_equal(image.frames[0], image.pixels)


async def test_a_probe_reads_the_header(decoder):
    info = await decoder.probe(encoded(quadrants(), "GIF"))
    assert (info.kind, info.mime, info.width, info.height) == ("image", "image/gif", 400, 200)
    assert (info.duration_s, info.frames) == (None, 1)


@pytest.mark.parametrize(("made", "mime"), CODECS.items())
async def test_a_video_is_decoded_to_some_of_its_frames(decoder, made, mime):
    data = video(*made, frames=40, size=(96, 64), gop=10)
    info = await decoder.probe(data)
    assert (info.kind, info.mime, info.width, info.height, info.frames) == ("video", mime, 96, 64, 40)
    assert info.duration_s == pytest.approx(4.0, abs=0.2)
    seen = await decoder.decode(data)
    assert seen.frames.shape == (8, 64, 96, 3)
    assert (seen.width, seen.height, seen.mime, len(seen.phashes)) == (96, 64, mime, 8)
    assert [place(frame, 40) for frame in seen.frames] == pytest.approx(range(2, 40, 5), abs=3)


async def test_the_picture_of_a_video_is_its_middle_frame(make_decoder):
    decoder = make_decoder(video_frames=5)
    data = video(frames=40, picture=lambda index: smooth(64, 48, seed=index))
    five, one = await decoder.decode(data), await decoder.decode(data, frames=1)
    assert (len(five.frames), len(one.frames)) == (5, 1)
    np.testing.assert_array_equal(five.pixels, five.frames[2])
    np.testing.assert_array_equal(five.pixels, one.pixels)
    assert (five.phash, one.phashes) == (five.phashes[2], (five.phashes[2],))


async def test_a_part_of_every_frame_of_a_video_can_be_asked_for(decoder):
    data = video(size=(400, 200), picture=lambda _: quadrants(), frames=8)
    green = await decoder.decode(data, crop=(0.5, 0.0, 0.5, 0.5))
    assert green.frames.shape == (8, 100, 200, 3)
    assert (green.width, green.height) == (400, 200)
    assert np.abs(green.frames[:, 10:-10, 10:-10].mean(axis=(0, 1, 2)) - (0, 255, 0)).max() < 10


async def test_a_large_video_has_small_frames_and_the_process_starts_no_thread_for_it(decoder):
    data = video("avi", "mpeg4", size=(1920, 1080), frames=3)
    seen = await decoder.decode(data)
    assert seen.frames.shape == (3, 288, 512, 3)
    assert "Threads:\t1\n" in Path(f"/proc/{decoder.pids()[0]}/status").read_text()  # noqa: ASYNC240


async def test_a_video_over_a_limit_is_too_large_and_says_which(make_decoder):
    data = video(frames=30, size=(320, 240))
    for settings, said in (
        ({"max_video_bytes": 2_000}, r"the video has \d+ bytes; 2000 are allowed"),
        ({"max_video_pixels": 70_000}, "320 x 240; a frame may have 70000 pixels"),
        ({"max_side": 300}, "a side may have 300"),
        ({"max_video_s": 2.0}, "lasts 3 s; it may last 2 s"),
        ({"max_video_frames": 20}, "more than 20 frames"),
    ):
        decoder = make_decoder(**settings)
        for look in (decoder.probe, decoder.decode):
            with pytest.raises(TooLarge, match=said):
                await look(data)
        assert decoder.replaced == 0


async def test_images_and_videos_have_limits_of_their_own(make_decoder):
    decoder = make_decoder(max_bytes=2_000, max_video_bytes=1_000_000)
    assert (await decoder.probe(video(frames=30, size=(320, 240)))).kind == "video"
    with pytest.raises(TooLarge, match="the image has"):
        await decoder.probe(encoded(noise(100, 100)))


async def test_what_only_claims_to_be_a_video_is_undecodable(decoder):
    for head in (b"\x00\x00\x00\x20ftypisom", b"RIFF\x24\0\0\0AVI LIST", b"\x1aE\xdf\xa3\x87\x42\x82\x84webm"):
        with pytest.raises(UndecodableMedia, match="the video does not decode"):
            await decoder.probe(head + bytes(100))
    with pytest.raises(UnsupportedMedia, match="playlists are not supported"):
        await decoder.probe(b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data/\n")


async def test_a_video_that_takes_too_long_is_killed_at_its_own_time(make_decoder):
    decoder = make_decoder(decode_timeout_s=60, video_timeout_s=0.3)
    data = video()
    await decoder.decode(encoded(quadrants()))
    os.kill(decoder.pids()[0], signal.SIGSTOP)
    with pytest.raises(UndecodableMedia, match=r"the video could not be decoded safely: no answer within 0\.3 s"):
        await decoder.decode(data)


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
    decoder = make_decoder(memory_mb=384, max_pixels=200_000_000)
    with pytest.raises(UndecodableMedia, match="384 MB"):
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
    ("change", "of"),
    [
        ({"pixels_width": 600, "pixels_height": 1, "size_bytes": 1808}, "image"),  # more pixels than asked for
        ({"size_bytes": 5_000_000}, "image"),  # payload and pixels disagree
        ({"width": 0}, "image"),  # no such image
        ({"width": 100_000}, "image"),  # cannot have passed the limits
        ({"frames": 0}, "image"),
        ({"frames": 65}, "image"),
        ({"duration_ms": 1}, "image"),
        ({"shown": 2, "size_bytes": 40}, "image"),
        ({"shown": 0, "size_bytes": 0}, "image"),
        ({"pixels_width": 0, "size_bytes": 8}, "image"),
        ({"shown": 9, "size_bytes": 180}, "video"),
        ({"width": 4_000, "height": 4_000}, "video"),
        ({"frames": 40_001}, "video"),
        ({"duration_ms": 600_001}, "video"),
        ({}, "probe"),
        ({"status": Status.UNDECODABLE, "size_bytes": 4_000_000_000}, "image"),
    ],
)
def test_a_reply_that_cannot_be_true_is_not_believed(change, of):
    asked = {
        "image": Request(Operation.DECODE, 1),
        "video": Request(Operation.DECODE, 1, container=Container.WEBM, frames=8),
        "probe": Request(Operation.PROBE, 1),
    }
    good = Reply(Status.OK, 10, 10, 1, 0, 2, 2, 1, 20)
    process = DecodingProcess(MediaSettings())
    try:
        process._check(asked["image"], good)
        process._check(asked["video"], good)
        with pytest.raises(BadReply):
            process._check(asked[of], Reply(**{**vars(good), **change}))
    finally:
        process.kill()


def test_requests_and_replies_survive_packing():
    request = Request(Operation.DECODE, 123, (0.1, 0.2, 0.3, 0.4), Container.AVI, 8)
    assert Request.unpack(request.pack()) == request
    reply = Reply(Status.OK, 1, 2, 3, 2**32 - 1, 4, 5, 6, 60)
    assert Reply.unpack(reply.pack()) == reply

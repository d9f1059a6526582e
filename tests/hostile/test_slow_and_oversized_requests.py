"""Goal G25: requests that are too large are cut off, those that are too slow take nothing from the others.

`HOSTILE_URL=http://127.0.0.1:8080 pytest tests/hostile/test_slow_and_oversized_requests.py -k running` asks a system
that runs already, its HAProxy included.
"""

import asyncio
import os
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from core.settings import HttpSettings, ServingSettings
from serving.gateway.body import LINGER_BYTES
from serving.gateway.middleware import MULTIPART_OVERHEAD_BYTES
from tests.hostile.slow_clients import PART, drip, pour
from tests.live_gateway import LiveGateway, live_gateway

MIB = 1024 * 1024
SLOW = 200


async def attack(url: str, seconds: float, every_s: float = 0.5) -> tuple[list, list[int], float]:
    """Open 200 slow connections and ask for other things meanwhile; return endings, statuses and the longest wait."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    slow = [
        asyncio.create_task(drip(host, port, body=number % 2 == 0, every_s=every_s, for_s=seconds))
        for number in range(SLOW)
    ]
    statuses, longest_s = [], 0.0
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await asyncio.sleep(0.5)
        while not all(task.done() for task in slow):
            began = time.monotonic()
            statuses.append((await client.get("/v1/index")).status_code)
            statuses.append((await client.post("/v1/events/uploads", json=[])).status_code)
            longest_s = max(longest_s, time.monotonic() - began)
            await asyncio.sleep(0.2)
    return await asyncio.gather(*slow), statuses, longest_s


async def test_g25_two_hundred_slow_connections_are_ended_and_others_are_served_meanwhile(gateway: LiveGateway):
    process = psutil.Process()
    before = process.memory_info().rss
    endings, statuses, longest_s = await attack(gateway.url, seconds=8)
    grown = process.memory_info().rss - before
    bodies = endings[::2]
    print(f"G25: {len(bodies)} slow bodies ended with {sorted({end.status for end in bodies})}; meanwhile "
          f"{len(statuses)} other requests, longest wait {longest_s:.2f} s, memory {grown / MIB:+.1f} MiB")  # fmt: skip
    assert {end.status for end in bodies} == {408}
    assert set(statuses) == {200, 202}
    assert len(statuses) >= 10
    assert grown < 50 * MIB


async def test_g25_slow_bodies_take_no_place_of_others_in_a_gateway_with_a_single_one(tmp_path):
    few = ServingSettings(max_ongoing_requests=1, max_queued_requests=1)
    with live_gateway(tmp_path, http=HttpSettings(request_timeout_s=4), serving=few) as small:
        endings, statuses, _ = await attack(small.url, seconds=6, every_s=0.1)
    assert set(statuses) == {200, 202}
    assert {end.status for end in endings[::2]} == {408}


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with its length"])
async def test_g25_a_body_of_a_gigabyte_is_cut_off_and_not_kept(gateway: LiveGateway, chunked: bool):
    process = psutil.Process()
    before = process.memory_info().rss
    host, port = urlsplit(gateway.url).hostname, urlsplit(gateway.url).port
    status, sent = await pour(host, port, "/v1/media", total=1024 * MIB, chunked=chunked)
    grown = process.memory_info().rss - before
    print(f"G25: 1 GiB {'chunked' if chunked else 'declared'}: {status} after {sent / MIB:.1f} MiB had left the client")
    assert status == 413
    assert sent < 64 * MIB  # the limit is 4 MiB; the rest is in buffers of both ends
    assert grown < 50 * MIB
    assert gateway.http.get("/v1/index").status_code == 200


async def test_g25_who_sends_all_of_a_body_before_it_listens_is_told_that_it_is_too_large(gateway: LiveGateway):
    for _ in range(5):
        host, port = urlsplit(gateway.url).hostname, urlsplit(gateway.url).port
        reader, writer = await asyncio.open_connection(host, port)
        size = 16 * MIB
        writer.write(f"POST /v1/events/uploads HTTP/1.1\r\nHost: gateway\r\nContent-Length: {size}\r\n\r\n".encode())
        writer.write(b"x" * size)
        await asyncio.wait_for(writer.drain(), 30)
        await asyncio.sleep(0.1)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 413 ") and answer.endswith(b"}")


@pytest.mark.parametrize("path", ["/v1/media", "/v1/events/uploads", "/v1/search/images", "/console/session"])
async def test_g25_no_more_of_a_body_is_read_than_its_limit_and_64_kib_before_it_is_answered(world, path):
    read, read_when_answered = 0, None
    multipart = path in ("/v1/media", "/v1/search/images")

    async def endless():
        nonlocal read
        if multipart:
            yield PART
        while True:
            read += 16_384
            yield b"x" * 16_384

    app = world.client._transport.app

    async def watched(scope, receive, send):
        async def seen(message):
            nonlocal read_when_answered
            read_when_answered = read if read_when_answered is None else read_when_answered
            await send(message)

        await app(scope, receive, seen)

    kind = "multipart/form-data; boundary=b" if multipart else "application/json"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(watched), base_url="http://gateway") as client:
        answer = await client.post(path, content=endless(), headers={"content-type": kind})
    limit = world.deps.http.max_upload_bytes + MULTIPART_OVERHEAD_BYTES if multipart else world.deps.http.max_body_bytes
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert read_when_answered <= limit + 64 * 1024
    assert read <= limit + 64 * 1024 + LINGER_BYTES + 64 * 1024  # thrown away, so that the client learns of its answer


@pytest.mark.skipif("HOSTILE_URL" not in os.environ, reason="HOSTILE_URL names no running system")
@pytest.mark.timeout(180)
async def test_g25_a_running_system_serves_others_too():
    url = os.environ["HOSTILE_URL"]
    endings, statuses, longest_s = await attack(url, seconds=40, every_s=1.0)
    counted = dict(Counter(end.status for end in endings))
    print(f"G25 live: endings {counted}, "
          f"the last after {max(end.after_s for end in endings):.1f} s; {len(statuses)} other requests "
          f"{sorted(set(statuses))}, longest wait {longest_s:.2f} s")  # fmt: skip
    assert set(statuses) <= {200, 202}
    assert max(end.after_s for end in endings) < 30
    host, port = urlsplit(url).hostname, urlsplit(url).port
    for chunked in (True, False):
        status, sent = await pour(host, port, "/v1/media", total=1024 * MIB, chunked=chunked)
        print(f"G25 live: 1 GiB {'chunked' if chunked else 'declared'}: {status} after {sent / MIB:.1f} MiB")
        assert status in (0, 413)
        assert sent < 768 * MIB  # what has left the client by the time it hears of it

"""A search by media id over HTTP, eight clients at a time: through Ray Serve, and through plain uvicorn.

Both run the same FastAPI application over the same log of entries; what differs is HAProxy, Ray Serve's replica and
its proxying. No image is encoded: the vector of a known media id is in the index.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp
import httpx
import numpy as np

from core import topics
from core.entries import IndexEntry, Version, encode_entry, pack_vector
from core.errors import Unavailable
from core.ids import event_id
from core.ports import OutgoingRecord
from core.settings import Settings
from infra.bench.percentiles import milliseconds
from infra.bench.plain_gateway import running_gateway
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar, compare
from infra.bench.system import running_system, scratch_home, scratch_settings
from infra.ports import free_port
from storage.log.producer import KafkaPublisher

CLIENTS = 8
K = 10
READY_WITHIN_S = 120.0


def run(options: BenchOptions) -> BenchResult:
    items, requests = (500, 200) if options.quick else (20_000, 4_000)
    repeats = 1 if options.quick else options.repeats
    served: list[list[float]] = []
    plain: list[list[float]] = []
    rates: dict[str, list[float]] = {"served": [], "plain": []}
    with scratch_home() as home, scratch_home() as other_home:
        settings = scratch_settings(home)
        with running_system(settings) as system:
            info = httpx.get(f"{system.urls['http']}/v1/index").json()
            media = _publish_entries(system.urls["broker"], items, int(info["dim"]), str(info["model_version"]))
            options.report(f"{items} entries published; waiting until both have indexed them")
            _wait_for(system.urls["http"], items)
            beside = settings.model_copy(
                update={
                    "home": other_home,
                    "http": settings.http.model_copy(update={"port": free_port()}),
                    "broker": settings.broker.model_copy(update={"bootstrap": system.urls["broker"]}),
                }
            )
            with running_gateway(beside, str(info["model_version"]), int(info["dim"]), other_home) as (plain_url, _):
                _wait_for(plain_url, items)
                for url in (system.urls["http"], plain_url):
                    asyncio.run(_load(url, media, requests // 10, seed=0))
                for number in range(repeats):
                    for name, url, samples in (("served", system.urls["http"], served), ("plain", plain_url, plain)):
                        seconds, rate = asyncio.run(_load(url, media, requests, seed=number + 1))
                        samples.append(seconds)
                        rates[name].append(rate)
                    options.report(
                        f"round {number + 1}: p99 {milliseconds(served[-1], 99):.1f} ms served, "
                        f"{milliseconds(plain[-1], 99):.1f} ms plain"
                    )
    measurements = (
        _milliseconds("Ray Serve with HAProxy, p50", served, 50),
        _milliseconds("Ray Serve with HAProxy, p99", served, 99),
        Measurement("Ray Serve with HAProxy, rate", "requests/s", "higher", tuple(rates["served"])),
        _milliseconds("the same application on uvicorn, p50", plain, 50),
        _milliseconds("the same application on uvicorn, p99", plain, 99),
        Measurement("the same application on uvicorn, rate", "requests/s", "higher", tuple(rates["plain"])),
    )
    return BenchResult(
        name="search_http",
        title="Search by media id over HTTP",
        command="riverlight bench run search_http",
        measurements=measurements,
        comparisons=(
            compare(measurements, "Ray Serve with HAProxy, p50", "the same application on uvicorn, p50"),
            compare(measurements, "Ray Serve with HAProxy, rate", "the same application on uvicorn, rate"),
        ),
        bars=(bar(measurements, "Ray Serve with HAProxy, p99", 60),),
        details={"items": items, "requests": requests, "clients": CLIENTS, "k": K},
        notes=(
            f"`POST /v1/search/images` with a media id, k = {K}, over {items} items, {CLIENTS} clients that each wait "
            f"for their answer, {requests} requests a repetition; traces are written, the client runs on the same "
            "cores.",
        ),
    )


BENCHMARK = Benchmark("search_http", "search/images by media id, 8 clients, Ray Serve against plain uvicorn", run)


def _milliseconds(name: str, rounds: Sequence[Sequence[float]], share: float) -> Measurement:
    return Measurement(name, "ms", "lower", tuple(milliseconds(samples, share) for samples in rounds))


def _publish_entries(bootstrap: str, items: int, dim: int, model_version: str) -> list[str]:
    """Write entries with clustered vectors straight into the log of entries; return their media ids."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((100, dim), np.float32)
    version = Version.of(datetime.now(UTC), 0)
    media = [f"{number:064x}" for number in range(items)]
    publisher = KafkaPublisher(bootstrap, Settings().producer, client_id="riverlight-bench")

    async def publish() -> None:
        for first in range(0, items, 1000):
            records = []
            for number in range(first, min(first + 1000, items)):
                vector = centres[number % len(centres)] + 0.8 * rng.standard_normal(dim, np.float32)
                item = f"bench-{number}"
                entry = IndexEntry(
                    item_id=item,
                    version=version,
                    media_id=media[number],
                    owner_id=f"owner-{number % 50}",
                    vector=pack_vector((vector / np.linalg.norm(vector)).astype(np.float32)),
                    model_version=model_version,
                    title=f"Picture {number}",
                    event_id=event_id("riverlight-bench", item),
                )
                records.append(OutgoingRecord(topics.INDEX_ENTRIES.name, item, encode_entry(entry)))
            await publisher.publish(records)

    try:
        asyncio.run(publish())
    finally:
        publisher.close()
    return media


def _wait_for(url: str, items: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    seen = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/v1/index", timeout=5)
            seen = answer.text[:200]
            # Opening the feature store, which comes last, takes the processor from the searches.
            opened = httpx.get(f"{url}/v1/features/items/none", timeout=5).status_code != 503
            if answer.is_success and int(answer.json()["items"]) >= items and opened:
                return
        except httpx.TransportError as error:
            seen = str(error)
        time.sleep(0.3)
    raise Unavailable(f"{url} has not indexed {items} entries within {READY_WITHIN_S:g} s: {seen}")


async def _load(url: str, media: Sequence[str], requests: int, *, seed: int) -> tuple[list[float], float]:
    """Return the seconds of each answer, and answers a second."""
    chosen = random.Random(seed).choices(media, k=requests)
    waiting = iter(chosen)
    seconds: list[float] = []
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            for media_id in waiting:
                sent = time.perf_counter()
                async with session.post(f"{url}/v1/search/images", json={"media_id": media_id, "k": K}) as answer:
                    await answer.read()
                    if answer.status != 200:
                        raise Unavailable(f"{url} answered {answer.status}: {(await answer.text())[:200]}")
                seconds.append(time.perf_counter() - sent)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return seconds, requests / (time.perf_counter() - began)

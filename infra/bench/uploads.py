"""How soon an upload is found, and how soon a hidden or deleted one is gone, through the public API.

The floor beside it is what the log itself takes: the same collector call, until a plain consumer has the record.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from core import topics
from infra.bench.percentiles import milliseconds
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar, compare
from infra.bench.system import running_system, scratch_home, scratch_settings
from infra.demo.platform import Platform, event, wait_until
from monitoring.canary import canary_image
from storage.log.reader import LogReader, end_offsets

PER_S = 5.0
TIMEOUT_S = 30.0
NO_CUT_OFF = -1.0
OWNER = "riverlight-bench"


def run(options: BenchOptions) -> BenchResult:
    paced, removals = (10, 4) if options.quick else (100, 50)
    repeats = 1 if options.quick else options.repeats
    with scratch_home() as home:
        settings = scratch_settings(home)
        with running_system(settings) as system:
            rounds = asyncio.run(_rounds(system.urls, paced, removals, repeats, options.report))
            broker = str((system.broker or {}).get("promise", "")).partition(", data in")[0]
    measurements = (
        _measurement("upload → found, p50", [milliseconds(found.found_s, 50) for found in rounds]),
        _measurement("upload → found, p99", [milliseconds(found.found_s, 99) for found in rounds]),
        _measurement("hide or delete → gone, p50", [milliseconds(found.gone_s, 50) for found in rounds]),
        _measurement("hide or delete → gone, p99", [milliseconds(found.gone_s, 99) for found in rounds]),
        _measurement("floor: upload → read by a plain consumer, p50", [milliseconds(f.floor_s, 50) for f in rounds]),
        _measurement("floor: upload → read by a plain consumer, p99", [milliseconds(f.floor_s, 99) for f in rounds]),
    )
    return BenchResult(
        name="uploads",
        title="Freshness: upload to found, hide or delete to gone",
        command="riverlight bench run uploads",
        measurements=measurements,
        comparisons=(
            compare(measurements, "upload → found, p50", "floor: upload → read by a plain consumer, p50"),
            compare(measurements, "hide or delete → gone, p50", "floor: upload → read by a plain consumer, p50"),
        ),
        bars=(
            bar(measurements, "upload → found, p50", 400),
            bar(measurements, "upload → found, p99", 1000),
            bar(measurements, "hide or delete → gone, p99", 1000),
        ),
        details={"uploads": paced, "removals": removals, "per_s": PER_S, "broker": broker},
        notes=(
            f"{paced} uploads at {PER_S:g} a second and {removals} removals in each repetition; times include the "
            "collector call and the search that finds or misses the image (asked every 20 ms).",
            f"Broker: {broker}.",
            "The floor has no decoding, no embedding and no index in it: what is above it is ours.",
        ),
    )


BENCHMARK = Benchmark("uploads", "upload → found and hide or delete → gone, through the public API", run)


@dataclass
class _Round:
    found_s: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    floor_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"found p99 {milliseconds(self.found_s, 99):.0f} ms, gone p99 {milliseconds(self.gone_s, 99):.0f} ms"


async def _rounds(
    urls: dict[str, str], paced: int, removals: int, repeats: int, report: Callable[[str], None]
) -> list[_Round]:
    platform, seeds, rounds = Platform(urls["http"]), count(1), []
    try:
        await _warm_up(platform, next(seeds))
        for number in range(repeats):
            found = _Round()
            media = {
                f"bench-{number}-{position}": await platform.upload_media("bench.png", canary_image(next(seeds)))
                for position in range(paced)
            }
            with _Listener(urls["broker"]) as listener:
                uploads = (
                    _upload_at(platform, position / PER_S, item, media_id, listener, found)
                    for position, (item, media_id) in enumerate(media.items())
                )
                await asyncio.gather(*uploads)
            for position, (item, media_id) in enumerate(list(media.items())[:removals]):
                found.gone_s.append(await _remove(platform, item, media_id, hide=bool(position % 2)))
            report(f"round {number + 1}: {found}")
            rounds.append(found)
    finally:
        await platform.close()
    return rounds


async def _upload_at(
    platform: Platform, wait_s: float, item: str, media_id: str, listener: "_Listener", found: _Round
) -> None:
    await asyncio.sleep(wait_s)
    sent = time.perf_counter()
    await platform.send("uploads", [_created(item, media_id)])
    await wait_until(lambda: _finds(platform, item, media_id), what=item, timeout_s=TIMEOUT_S)
    found.found_s.append(time.perf_counter() - sent)
    found.floor_s.append(listener.seen[item] - sent)


async def _remove(platform: Platform, item: str, media_id: str, *, hide: bool) -> float:
    kind, data = ("hidden", {"item_id": item, "reason": "bench"}) if hide else ("deleted", {"item_id": item})

    async def gone() -> bool:
        return not await _finds(platform, item, media_id)

    sent = time.perf_counter()
    await platform.send("uploads", [event(f"upload.{kind}", item, data)])
    await wait_until(gone, what=f"{item} gone", timeout_s=TIMEOUT_S)
    return time.perf_counter() - sent


def _measurement(name: str, samples: list[float]) -> Measurement:
    return Measurement(name, "ms", "lower", tuple(samples))


class _Listener:
    """Reads the uploads topic as any consumer would and notes when it has seen which item."""

    def __init__(self, bootstrap: str) -> None:
        self.seen: dict[str, float] = {}
        self._reader = LogReader(bootstrap, topics.UPLOADS.name, start=end_offsets(bootstrap, topics.UPLOADS.name))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "_Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            for record in self._reader.poll(100, 0.1):
                self.seen.setdefault(record.key, time.perf_counter())


async def _warm_up(platform: Platform, seed: int) -> None:
    item = "bench-warm-up"
    media_id = await platform.upload_media("a.png", canary_image(seed))
    await platform.send("uploads", [_created(item, media_id)])
    await wait_until(lambda: _finds(platform, item, media_id), what=item, timeout_s=TIMEOUT_S)


def _created(item: str, media_id: str) -> dict[str, object]:
    return event("upload.created", item, {"item_id": item, "owner_id": OWNER, "kind": "image", "media_id": media_id})


async def _finds(platform: Platform, item: str, media_id: str) -> bool:
    answer = await platform.search(media_id=media_id, k=3, min_score=NO_CUT_OFF, include_query=True)
    return item in answer.items

"""A homepage over HTTP for ten thousand to a million videos, four clients at a time; and what it must never show.

The gateway runs on plain uvicorn before a broker of its own and follows the log as in the running system; nothing is
put into it in another way. First, at the smallest size, answers are asked for while videos are watched, hidden, taken
down and deleted: whatever was acknowledged a second before an answer was asked for must have had its effect in it.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil

from core import topics
from core.errors import Unavailable
from core.settings import BrokerSettings, Settings
from infra.bench import recommendation_load as load
from infra.bench.percentiles import milliseconds
from infra.bench.plain_gateway import running_gateway
from infra.bench.producing import produce
from infra.bench.recommendation_changes import CHANGES_PER_S, EFFECT_S, Changes, ask_while_changing, homepage
from infra.bench.result import Bar, Benchmark, BenchOptions, BenchResult, Curve, Measurement, bar
from infra.bench.scratch_broker import scratch_broker
from infra.bench.system import scratch_home, scratch_settings
from infra.broker.capabilities import running
from infra.ports import free_port
from storage.log.admin import apply_topics

CLIENTS = 4
K = 24
P99_MS = 120.0
FED_WITHIN_S = 900.0


@dataclass(frozen=True)
class _Scale:
    sizes: tuple[int, ...]
    requests: int  # of a round
    checked: int  # answers looked through for what they must not show


FULL = _Scale((10_000, 100_000, 1_000_000), 1_000, 100_000)
QUICK = _Scale((1_000, 3_000), 100, 300)


@dataclass
class _Round:
    """Answers of a round: seconds and videos of each, how many did without a part, how many there were a second."""

    seconds: list[float] = field(default_factory=list)
    videos: list[int] = field(default_factory=list)
    degraded: int = 0
    rate: float = 0.0


@dataclass
class _Size:
    """What was found for a number of videos."""

    fed_s: float
    gateway_mb: float
    scored: int  # candidates of an answer
    generators: int  # that proposed some of them
    rounds: list[_Round] = field(default_factory=list)


def run(options: BenchOptions) -> BenchResult:
    """Feed, check, and time every size. Raises Unavailable when the gateway does not follow or answer."""
    scale = QUICK if options.quick else FULL
    repeats = 1 if options.quick else options.repeats
    sizes: dict[int, _Size] = {}
    changes = Changes()
    with scratch_home() as home:
        broker, note = scratch_broker(home / "broker")
        with running(broker, home / "broker.log"):
            apply_topics(broker.bootstrap, topics.ALL, BrokerSettings())
            settings = _settings(home, broker.bootstrap)
            with running_gateway(settings, "none", 8, home) as (url, process):
                for size in scale.sizes:
                    sizes[size] = _feed(url, broker.bootstrap, size, max(sizes, default=0), process)
                    options.report(f"{size:,} videos and their viewers known after {sizes[size].fed_s:.0f} s")
                    if size == scale.sizes[0]:
                        asyncio.run(ask_while_changing(url, broker.bootstrap, changes, scale.checked, CLIENTS, K))
                        options.report(
                            f"{changes.answers:,} answers during {changes.made:,} changes: {_shown(changes)}"
                        )
                    asyncio.run(_ask(url, scale.requests // 5, seed=0))
                    for number in range(repeats):
                        sizes[size].rounds.append(asyncio.run(_ask(url, scale.requests, seed=number + 1)))
                        p50, p99 = (milliseconds(sizes[size].rounds[-1].seconds, share) for share in (50, 99))
                        options.report(f"{size:,} videos: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return _result(sizes, changes, note)


def _result(sizes: dict[int, _Size], changes: Changes, note: str) -> BenchResult:
    largest = max(sizes)
    found = sizes[largest]
    label = f"{largest:,} videos"
    measurements = (
        Measurement(f"p50, {label}", "ms", "lower", _milliseconds(found, 50)),
        Measurement(f"p99, {label}", "ms", "lower", _milliseconds(found, 99)),
        Measurement(f"rate, {label}", "answers/s", "higher", tuple(one.rate for one in found.rounds)),
        Measurement(
            "answers that did without a part", "%", "lower",
            tuple(100 * one.degraded / len(one.seconds) for one in found.rounds),
        ),
        Measurement("fewest videos of an answer", "", "higher", tuple(float(min(one.videos)) for one in found.rounds)),
        Measurement("shown although seen, hidden or taken down", "", "lower", (float(len(changes.shown)),)),
        Measurement(f"memory of the gateway, {label}", "MB", "lower", (found.gateway_mb,)),
        Measurement(f"from the log to the answers, {label}", "s", "lower", (found.fed_s,)),
    )  # fmt: skip
    x = tuple(float(size) for size in sizes)
    curves = (
        Curve(
            "A homepage", "videos", "ms", x,
            {
                "median": tuple(_median(_milliseconds(one, 50)) for one in sizes.values()),
                "99 of 100": tuple(_median(_milliseconds(one, 99)) for one in sizes.values()),
            },
        ),
        Curve("Memory of the gateway", "videos", "MB", x, {"gateway": tuple(one.gateway_mb for one in sizes.values())}),
    )  # fmt: skip
    bars: tuple[Bar, ...] = (
        bar(measurements, f"p99, {label}", P99_MS),
        bar(measurements, "fewest videos of an answer", K),
        bar(measurements, "shown although seen, hidden or taken down", 0),
    )
    return BenchResult(
        name="recommendations",
        title="A homepage over HTTP",
        command="riverlight bench run recommendations",
        measurements=measurements,
        bars=bars,
        curves=curves,
        details={
            "answers checked": changes.answers,
            "videos of them": changes.looked_at,
            "changes meanwhile": changes.made,
            "shown wrongly": changes.shown[:10],
            "candidates scored in the last answer": found.scored,
        },
        notes=(
            note,
            f"`GET /v1/recommendations/{{user_id}}`, k = {K}, {CLIENTS} clients that each wait for their answer; "
            f"{load.USERS} viewers with {load.INTERACTIONS:,} interactions; traces are written; clients, broker and "
            f"gateway (plain uvicorn) share the cores. At {label} the answer looked at scored {found.scored:,} "
            f"candidates of {found.generators} generators. No trained model is registered: generators are blended.",
            f"{changes.answers:,} answers of {changes.looked_at:,} videos were looked through while {changes.made:,} "
            f"videos were watched, hidden, taken down, deleted or enforced, {CHANGES_PER_S:g} a second, all of them "
            f"from answers just given. What was acknowledged by the broker more than {EFFECT_S:g} s before the "
            f"question must not be in the answer: {_shown(changes)}.",
        ),
    )


def _shown(changes: Changes) -> str:
    return f"{len(changes.shown)} were" if changes.shown else "none was"


def _milliseconds(found: _Size, share: float) -> tuple[float, ...]:
    return tuple(milliseconds(one.seconds, share) for one in found.rounds)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _settings(home: Path, bootstrap: str) -> Settings:
    settings = scratch_settings(home, broker={"bootstrap": bootstrap}, recommendation={"model": ""})
    return settings.model_copy(update={"http": settings.http.model_copy(update={"port": free_port()})})


def _feed(url: str, bootstrap: str, size: int, known: int, process: psutil.Process) -> _Size:
    """Produce what is missing to `size` videos and what the viewers did, and wait until the gateway has applied it."""
    now = datetime.now(UTC)
    began = time.monotonic()
    produce(bootstrap, chain(load.videos(known, size, now), load.past(size, now)))
    deadline = began + FED_WITHIN_S
    state: dict[str, Any] = {}
    before = -1
    while time.monotonic() < deadline:
        try:
            state = httpx.get(f"{url}/v1/recommender", timeout=10).json()["log"]
            applied = sum(int(count) for count in state["events"].values())
            if state["caught_up"] and state["videos"] == size and applied == before:
                explained = httpx.get(f"{url}/v1/recommendations/{load.user(0)}?k={K}&explain=true", timeout=30).json()
                candidates = explained["explain"]["candidates"]
                generators = {name for one in candidates for name in one["generators"]}
                memory_mb = process.memory_full_info().uss / 1e6
                return _Size(time.monotonic() - began, memory_mb, len(candidates), len(generators))
            before = applied
        except (httpx.TransportError, KeyError, ValueError) as error:
            state = {"problem": str(error)}
        time.sleep(0.5)
    raise Unavailable(f"{url} does not know {size:,} videos after {FED_WITHIN_S:g} s: {state}")


async def _ask(url: str, requests: int, *, seed: int) -> _Round:
    """Let the clients ask for homepages of random viewers."""
    viewers = iter(random.Random(seed).choices(range(load.USERS), k=requests))
    done = _Round()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:

        async def client() -> None:
            for viewer in viewers:
                sent = time.perf_counter()
                answer = await homepage(session, url, load.user(viewer), K)
                done.seconds.append(time.perf_counter() - sent)
                done.videos.append(len(answer["results"]))
                done.degraded += bool(answer["degraded"])

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    done.rate = requests / (time.perf_counter() - began)
    return done


BENCHMARK = Benchmark("recommendations", "A homepage of 10,000 to 1,000,000 videos, and what it must never show", run)

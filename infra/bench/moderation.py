"""How soon posts are decided, how many a second, how soon the enforced are gone, how soon another policy is in force.

Everything goes through the public API and the log: collector, agent, moderator on Ray Serve, catalogue, outbox, topic.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from core.errors import Unavailable
from core.settings import Settings
from infra.bench.moderation_posts import SPAM, post_created, texts
from infra.bench.percentiles import milliseconds
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar, compare
from infra.bench.system import running_system, scratch_home, scratch_settings
from infra.demo.moderation import DecisionLog
from infra.demo.platform import Platform, event, wait_until
from models.moderation.policy import load_policy, packaged_policy
from models.text.load import load_text_encoder
from monitoring.canary import canary_image

PER_S = 20.0
TIMEOUT_S = 120.0
OWNER = "bench-owner"
IMAGE_EVERY = (4, 2)  # every so many-th post has an image; the bars are for the first
_NTH = {4: "every fourth", 2: "every second"}
_AT_ONCE = 100  # posts of one call of the collector


@dataclass(frozen=True)
class _Size:
    paced: int
    flood: int
    enforced: int
    policies: int


@dataclass
class _Round:
    decided_s: dict[int, list[float]] = field(default_factory=dict)  # by every how many-th post has an image
    lost: int = 0
    text_per_s: float = 0.0
    harmless_per_s: float = 0.0
    gone_s: list[float] = field(default_factory=list)
    policy_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"decided p99 {' and '.join(f'{milliseconds(one, 99):.0f}' for one in self.decided_s.values())} ms, "
            f"{self.text_per_s:.0f} texts/s, harmless {self.harmless_per_s:.0f}/s, "
            f"gone p99 {milliseconds(self.gone_s, 99):.0f} ms, policy {max(self.policy_s):.2f} s"
        )


def run(options: BenchOptions) -> BenchResult:
    """Start a system, and play the rounds."""
    size = _Size(20, 100, 2, 1) if options.quick else _Size(600, 2_000, 40, 5)
    with scratch_home() as home:
        policy = home / "policy.yaml"
        policy.write_bytes(packaged_policy())
        settings = scratch_settings(home, moderation={"policy": policy})
        alone = _encoder_alone(settings, 60 if options.quick else 600)
        options.report(f"the text encoder alone: {alone:.0f} texts/s")
        with running_system(settings) as system:
            repeats = 1 if options.quick else options.repeats
            rounds = asyncio.run(_rounds(system.urls, policy, size, repeats, options.report))
            broker = str((system.broker or {}).get("promise", "")).partition(", data in")[0]
    measurements = (
        *(
            Measurement(
                f"post → decision in the log, {PER_S:g}/s, {_NTH[every]} with an image, p{percent}", "ms", "lower",
                tuple(milliseconds(one.decided_s[every], percent) for one in rounds),
            )
            for every in IMAGE_EVERY
            for percent in (50, 95, 99)
        ),
        Measurement("posts without a decision", "", "lower", tuple(float(one.lost) for one in rounds)),
        Measurement("text posts decided", "/s", "higher", tuple(one.text_per_s for one in rounds)),
        Measurement("harmless text posts decided", "/s", "higher", tuple(one.harmless_per_s for one in rounds)),
        Measurement("the text encoder alone", "/s", "higher", (alone,)),
        _times("enforced post → its upload gone from search, p50", rounds, "gone_s", 50),
        _times("enforced post → its upload gone from search, p99", rounds, "gone_s", 99),
        Measurement("policy written → in force, slowest", "s", "lower", tuple(max(one.policy_s) for one in rounds)),
    )  # fmt: skip
    return BenchResult(
        name="moderation",
        title="Moderation: post to decision, texts a second, enforced to gone, policy to force",
        command="riverlight bench run moderation",
        measurements=measurements,
        comparisons=(compare(measurements, "text posts decided", "the text encoder alone"),),
        bars=(
            bar(measurements, measurements[1].name, 500),
            bar(measurements, measurements[2].name, 1000),
            bar(measurements, "posts without a decision", 0),
            bar(measurements, "text posts decided", 150),
            bar(measurements, "enforced post → its upload gone from search, p99", 1000),
            bar(measurements, "policy written → in force, slowest", 1),
        ),
        details={**asdict(size), "per_s": PER_S, "broker": broker},
        notes=(
            f"{size.paced} posts at {PER_S:g} a second, times from before the collector's call; then {size.flood} texts"
            " as fast as the collector takes them, from the first call to the last decision. Texts are one sentence, a "
            "tenth of them harmful; those that are acted on are explained, which takes up to six encodings more.",
            "Gone: from before the collector's call with a spam post that names an upload, until a search misses the "
            "upload (asked every 20 ms).",
            "Policy: the file is changed while posts come, until the first decision made by the new version. One worker"
            " process decides; each looks at the file every 0.3 s.",
            "Load, broker, gateway, Ray Serve with image encoder and moderator, and the worker share the machine.",
            f"Broker: {broker}.",
        ),
    )


BENCHMARK = Benchmark("moderation", "post → decision, texts a second, enforced → gone, policy → in force", run)


def _times(name: str, rounds: Sequence[_Round], what: str, percent: float) -> Measurement:
    return Measurement(name, "ms", "lower", tuple(milliseconds(getattr(one, what), percent) for one in rounds))


def _encoder_alone(settings: Settings, n: int) -> float:
    encoder = load_text_encoder(settings.text_encoder, settings.home)
    some = list(islice(texts(0), n))
    encoder.encode(some[:10])
    began = time.perf_counter()
    encoder.encode(some)
    return n / (time.perf_counter() - began)


async def _rounds(
    urls: dict[str, str], policy: Path, size: _Size, repeats: int, report: Callable[[str], None]
) -> list[_Round]:
    platform, log = Platform(urls["http"]), DecisionLog(urls["broker"])
    words, harmless, images, rounds = texts(1), texts(2, harmful=0.0), count(1), []
    try:
        await _decide(platform, log, {"bench-warm-up": next(words)})
        for number in range(repeats):
            found = _Round()
            for every in IMAGE_EVERY:
                media = [
                    await platform.upload_media("a.png", canary_image(next(images)))
                    for _ in range(-(-size.paced // every))
                ]
                some = list(islice(words, size.paced))
                await _paced(platform, log, f"bench-{number}-{every}", some, media, found, every)
            named = f"bench-{number}-text"
            found.text_per_s = await _flood(
                platform, log, {f"{named}-{place}": next(words) for place in range(size.flood)}
            )
            found.harmless_per_s = await _flood(
                platform, log, {f"{named}-harmless-{place}": next(harmless) for place in range(size.flood)}
            )
            for place in range(size.enforced):
                image = canary_image(next(images))
                found.gone_s.append(await _enforce(platform, f"bench-{number}-bad-{place}", image))
            for place in range(size.policies):
                other = number * size.policies + place + 1
                found.policy_s.append(await _change(platform, log, policy, other, words))
            report(f"round {number + 1}: {found}")
            rounds.append(found)
    finally:
        log.close()
        await platform.close()
    return rounds


async def _paced(
    platform: Platform,
    log: DecisionLog,
    name: str,
    some: Sequence[str],
    media: Sequence[str],
    found: _Round,
    every: int,
) -> None:
    """Write posts `PER_S` a second, every so many-th with an image."""
    sent: dict[str, float] = {}
    calls = []
    began = time.monotonic()
    for place, text in enumerate(some):
        await asyncio.sleep(max(0.0, began + place / PER_S - time.monotonic()))
        post_id = f"{name}-{place}"
        shown = (media[place // every],) if place % every == 0 else ()
        sent[post_id] = time.time()
        calls.append(asyncio.create_task(platform.send("posts", [post_created(post_id, text, shown)])))
    await asyncio.gather(*calls)
    decided = log.followed.decisions
    with suppress(Unavailable):  # those that are lost are counted
        await wait_until(partial(_all_decided, log, list(sent)), what=name, timeout_s=TIMEOUT_S, every_s=0.05)
    found.decided_s[every] = [decided[post_id][0][0] - at for post_id, at in sent.items() if post_id in decided]
    found.lost += sum(post_id not in decided for post_id in sent)


async def _flood(platform: Platform, log: DecisionLog, some: dict[str, str]) -> float:
    """Write all texts at once; return how many were decided a second."""
    began = time.time()
    await _decide(platform, log, some)
    return len(some) / (max(log.followed.decisions[post_id][0][0] for post_id in some) - began)


async def _decide(platform: Platform, log: DecisionLog, some: dict[str, str]) -> None:
    events = [post_created(post_id, text) for post_id, text in some.items()]
    for start in range(0, len(events), _AT_ONCE):
        await platform.send("posts", events[start : start + _AT_ONCE])
    await wait_until(
        partial(_all_decided, log, list(some)), what=f"{len(some)} decisions", timeout_s=TIMEOUT_S, every_s=0.05
    )


async def _enforce(platform: Platform, item: str, image: bytes) -> float:
    """Upload an image, have it found, post spam beside it; return how long until searches miss it."""
    media_id = await platform.upload_media("a.png", image)
    data: dict[str, Any] = {"item_id": item, "owner_id": OWNER, "kind": "image", "media_id": media_id}
    await platform.send("uploads", [event("upload.created", item, data)])
    await wait_until(partial(_is_found, platform, item, image, True), what=item, timeout_s=TIMEOUT_S)
    post = post_created(f"{item}-post", f"{SPAM} {item}", (), [item])
    post["data"]["author_id"] = OWNER
    began = time.perf_counter()
    await platform.send("posts", [post])
    await wait_until(partial(_is_found, platform, item, image, False), what=f"{item} gone", timeout_s=TIMEOUT_S)
    return time.perf_counter() - began


async def _change(platform: Platform, log: DecisionLog, policy: Path, number: int, words: Iterator[str]) -> float:
    """Write another policy while posts come; return how long until one is decided by it."""
    changed = packaged_policy().replace(b"factor: 0.3 ", f"factor: 0.3{number} ".encode(), 1)
    await asyncio.to_thread(policy.write_bytes, changed)
    began, version = time.time(), load_policy(policy).version
    for place in count():
        post_id = f"bench-policy-{number}-{place}"
        await _decide(platform, log, {post_id: next(words)})
        decision = log.followed.decisions[post_id][0][1]
        if decision.policy_version == version or time.time() - began > TIMEOUT_S:
            break
        await asyncio.sleep(1 / PER_S)
    return decision.decided_at.timestamp() - began


async def _all_decided(log: DecisionLog, post_ids: Sequence[str]) -> bool:
    return all(post_id in log.followed.decisions for post_id in post_ids)


async def _is_found(platform: Platform, item: str, image: bytes, wanted: bool) -> bool:
    answer = await platform.search(image=image, k=5, min_score=-1.0)
    return (item in answer.items) == wanted

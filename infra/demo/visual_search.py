"""The main job, from outside: upload, wait until searchable, search, hide and delete, wait until gone."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from infra.demo.images import DemoImages, Pair
from infra.demo.platform import Answer, Platform, event, wait_until
from infra.demo.report import Percentiles, Quality
from models.metrics.ranking import summarise

OWNER = "riverlight-demo"
PACED_PER_S = 5.0
TIMEOUT_S = 120.0
K = 10
NO_CUT_OFF = -1.0  # the metrics want every candidate, also those that a user would not be shown

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Uploaded:
    """What was uploaded: item id and media id of each pair, in order."""

    items: list[str]
    media: list[str]
    freshness_s: list[float]


async def upload(platform: Platform, images: DemoImages, *, run: str, paced: int, advance: Advance) -> Uploaded:
    """Upload every image: most as fast as the platform takes them, the last `paced` at 5 a second, each timed.

    A paced upload's freshness is the time from sending its event until a search finds it.
    """
    media = await _store_media(platform, images.pairs, advance)
    items = [f"demo-{run}-{number:04d}" for number in range(len(images.pairs))]
    bulk = len(items) - min(paced, len(items))
    events = [_created(item, media_id, pair) for item, media_id, pair in zip(items, media, images.pairs, strict=True)]
    for start in range(0, bulk, 100):
        await platform.send("uploads", events[start : min(start + 100, bulk)])
    if bulk:
        await wait_until(lambda: _found(platform, items[bulk - 1], media[bulk - 1]), what="bulk", timeout_s=TIMEOUT_S)
    advance(bulk)
    freshness = await _paced(platform, images.pairs[bulk:], items[bulk:], media[bulk:], advance)
    return Uploaded(items, media, freshness)


async def count_searchable(platform: Platform, uploaded: Uploaded) -> int:
    """Return how many uploads a search for their own image finds, waiting for stragglers."""
    missing = set(range(len(uploaded.items)))

    async def all_found() -> bool:
        for number in sorted(missing):
            if not await _found(platform, uploaded.items[number], uploaded.media[number]):
                return False
            missing.discard(number)
        return True

    try:
        await wait_until(all_found, what="uploads", timeout_s=TIMEOUT_S, every_s=0.2)
    finally:
        searchable = len(uploaded.items) - len(missing)
    return searchable


async def query(
    platform: Platform, images: DemoImages, *, run: str, clients: int, advance: Advance
) -> tuple[list[Answer], Percentiles]:
    """Search with every query image (in the request), `clients` at a time; answers in the order of the pairs."""
    gate = asyncio.Semaphore(clients)

    async def one(pair: Pair) -> Answer:
        async with gate:
            answer = await platform.search(
                image=pair.query_bytes(), k=K, min_score=NO_CUT_OFF, filters={"owner_id": owner(run)}
            )
        advance(1)
        return answer

    answers = await asyncio.gather(*(one(pair) for pair in images.pairs))
    return list(answers), Percentiles.of([answer.latency_s for answer in answers])


def quality(answers: Sequence[Answer], items: Sequence[str]) -> Quality:
    """Judge each answer by the rank of its pair's item (the one relevant item of its query)."""
    return _quality(
        [[float(found == item) for found in answer.items] for answer, item in zip(answers, items, strict=True)]
    )


def exact_quality(items: NDArray[np.float32], queries: NDArray[np.float32]) -> Quality:
    """Judge an exact search; row i of `queries` looks for row i of `items`, both `(n, dim)` with rows of length 1."""
    order = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :K]
    return _quality([(row == number).astype(float).tolist() for number, row in enumerate(order)])


async def take_out(platform: Platform, uploaded: Uploaded, *, count: int, seed: int, advance: Advance) -> list[float]:
    """Hide one half of `count` random uploads and delete the other; return seconds until each is in no answer."""
    chosen = random.Random(seed).sample(range(len(uploaded.items)), min(count, len(uploaded.items)))
    seconds = []
    for turn, number in enumerate(chosen):
        item, media_id = uploaded.items[number], uploaded.media[number]
        kind, data = ("hidden", {"item_id": item, "reason": "demo"}) if turn % 2 else ("deleted", {"item_id": item})
        sent = asyncio.get_running_loop().time()
        await platform.send("uploads", [event(f"upload.{kind}", item, data)])
        await wait_until(partial(_gone, platform, item, media_id), what=f"{item} gone", timeout_s=TIMEOUT_S)
        seconds.append(asyncio.get_running_loop().time() - sent)
        advance(1)
    return seconds


async def remove_all(platform: Platform, items: Sequence[str]) -> None:
    """Delete what an earlier run uploaded."""
    for start in range(0, len(items), 100):
        await platform.send(
            "uploads", [event("upload.deleted", item, {"item_id": item}) for item in items[start : start + 100]]
        )


def owner(run: str) -> str:
    """The owner of one run's uploads, so that a run finds its own images only."""
    return f"{OWNER}-{run}"


async def _store_media(platform: Platform, pairs: Sequence[Pair], advance: Advance) -> list[str]:
    gate = asyncio.Semaphore(4)

    async def one(number: int, pair: Pair) -> str:
        async with gate:
            media_id = await platform.upload_media(f"{number}{pair.item.path.suffix}", pair.upload_bytes())
        advance(1)
        return media_id

    return list(await asyncio.gather(*(one(number, pair) for number, pair in enumerate(pairs))))


async def _paced(
    platform: Platform, pairs: Sequence[Pair], items: Sequence[str], media: Sequence[str], advance: Advance
) -> list[float]:
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def one(number: int) -> float:
        await asyncio.sleep(max(0.0, started + number / PACED_PER_S - loop.time()))
        sent = loop.time()
        await platform.send("uploads", [_created(items[number], media[number], pairs[number])])
        await wait_until(
            lambda: _found(platform, items[number], media[number]), what=items[number], timeout_s=TIMEOUT_S
        )
        advance(1)
        return loop.time() - sent

    return list(await asyncio.gather(*(one(number) for number in range(len(items)))))


async def _found(platform: Platform, item: str, media_id: str) -> bool:
    run_owner = owner(item.split("-")[1])
    answer = await platform.search(
        media_id=media_id, k=3, min_score=NO_CUT_OFF, include_query=True, filters={"owner_id": run_owner}
    )
    return item in answer.items


async def _gone(platform: Platform, item: str, media_id: str) -> bool:
    return not await _found(platform, item, media_id)


def _created(item: str, media_id: str, pair: Pair) -> dict[str, object]:
    return event(
        "upload.created",
        item,
        {
            "item_id": item,
            "owner_id": owner(item.split("-")[1]),
            "kind": "image",
            "media_id": media_id,
            "title": pair.item.title[:300],
            "tags": list(pair.item.tags)[:50],
            "category": pair.item.category[:100],
            "language": "en",
        },
    )


def _quality(relevance: Sequence[Sequence[float]]) -> Quality:
    # One relevant item a query, so recall@k is whether it is there; an item ranked below K counts as not found.
    padded = [list(row) + [0.0] * (K - len(row)) + [0.0 if any(row) else 1.0] for row in relevance]
    values = summarise(padded, ks=(1, K)).values
    found = [any(row) for row in relevance]
    mrr = float(np.mean([1 / (row.index(1.0) + 1) if hit else 0.0 for row, hit in zip(relevance, found, strict=True)]))
    return Quality(
        recall_at_1=round(values["recall@1"], 4),
        recall_at_10=round(values["recall@10"], 4),
        mrr=round(mrr, 4),
        ndcg_at_10=round(values["ndcg@10"], 4),
    )

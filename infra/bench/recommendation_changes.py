"""Homepages asked for while videos are watched, hidden, taken down, deleted, enforced: and what must not be on them."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp

from core import events
from core.errors import Unavailable
from core.settings import ProducerSettings
from infra.bench import recommendation_load as load
from storage.log.producer import KafkaPublisher

EFFECT_S = 1.0  # after the broker's acknowledgement, a change must show
CHANGES_PER_S = 30.0
_GONE = {"take down": load.hidden, "delete": load.deleted, "enforce": load.enforced}


@dataclass
class Changes:
    """Since when what must not be shown any more, and what was."""

    items: dict[str, float] = field(default_factory=dict)  # taken down, deleted, or enforced by a verdict
    pairs: dict[tuple[str, str], float] = field(default_factory=dict)  # watched or hidden by a viewer
    made: int = 0
    answers: int = 0
    looked_at: int = 0  # videos of those answers
    shown: list[str] = field(default_factory=list)

    def check(self, viewer: str, asked: float, items: Iterable[str]) -> None:
        """Look through an answer that was asked for at `asked`, by the monotonic clock."""
        self.answers += 1
        for item in items:
            self.looked_at += 1
            since = min(self.items.get(item, asked), self.pairs.get((viewer, item), asked))
            if asked - since > EFFECT_S:
                self.shown.append(f"{item} to {viewer}, {asked - since:.1f} s after it was acknowledged")


async def ask_while_changing(url: str, bootstrap: str, changes: Changes, answers: int, clients: int, k: int) -> None:
    """Ask until so many answers were looked through, while videos are watched, hidden, taken down, deleted, enforced.

    Raises:
        Unavailable: the gateway or the broker does not answer, or answers hold nothing, so that nothing was checked.
    """
    rng = random.Random(7)
    recent: list[tuple[str, str]] = []  # viewer and video, from answers just given
    publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="bench-changes")

    async def change() -> None:
        while changes.answers < answers:
            await asyncio.sleep(1 / CHANGES_PER_S)
            if not recent:
                continue
            viewer, item = rng.choice(recent)
            now = datetime.now(UTC)
            kind = rng.choices(("watch", "hide", "take down", "delete", "enforce"), (78, 13, 3, 3, 3))[0]
            if kind in ("watch", "hide"):
                of = events.Watch if kind == "watch" else events.Hide
                await publisher.publish([load.did(of, viewer, item, now, f"change-{changes.made}")])
                changes.pairs.setdefault((viewer, item), time.monotonic())
            else:
                await publisher.publish([_GONE[kind](item, now)])
                changes.items.setdefault(item, time.monotonic())
            changes.made += 1

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        own = random.Random(number)
        while changes.answers < answers:
            viewer, asked = load.user(own.randrange(load.USERS)), time.monotonic()
            shown = [one["item_id"] for one in (await homepage(session, url, viewer, k))["results"]]
            changes.check(viewer, asked, shown)
            recent[:] = [*recent[-200:], *((viewer, item) for item in shown)]

    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
            await asyncio.gather(change(), *(client(session, number) for number in range(clients)))
    finally:
        await asyncio.to_thread(publisher.close)
    if not changes.made:
        raise Unavailable(
            f"{url} gave {answers} answers without a video: nothing could be changed, nothing was checked"
        )


async def homepage(session: aiohttp.ClientSession, url: str, viewer: str, k: int) -> dict[str, list[dict[str, str]]]:
    """Ask for a homepage. Raises Unavailable when there is none."""
    async with session.get(f"{url}/v1/recommendations/{viewer}?k={k}&country=DE&language=en") as answer:
        if answer.status != 200:
            raise Unavailable(f"{url} answered {answer.status}: {(await answer.text())[:200]}")
        found: dict[str, list[dict[str, str]]] = await answer.json()
        return found
